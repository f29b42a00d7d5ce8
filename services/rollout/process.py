"""Handles a rollout request: apply the transition rules, verify the bundle, write the record, update the states on disk."""

from __future__ import annotations

import logging
from datetime import datetime

from models.bundle.content import MODEL, Bundle, BundleRefused, bundle_path, load_bundle
from models.bundle.registry import VersionState, read_state, states, write_state
from models.policy.outliving import lost_parts, replaces
from models.rollout.transitions import (
    Change,
    RolloutRequest,
    Standing,
    TransitionRefused,
    decide,
    first_model,
)
from services.rollout.answers import answer
from services.rollout.rollout_topics import Ledger
from streams.contracts.decoding import RecordDecoder
from streams.contracts.rollout import RolloutRecord
from streams.runtime.metrics import BUNDLE_REFUSED
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
_decode = RecordDecoder(RolloutRequest)


class Rollout:
    """Applies requests in order. Only this process changes the state of a published bundle."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._bundles = settings.bundles_dir
        self._trusted = settings.keys_dir / "trusted"
        self._ledger = ledger
        self._refused_first: set[str] = set()

    def handle(self, raw: bytes | None, now: datetime) -> bool:
        """Answer one request; False if it was answered before.

        Raises:
            InvalidEvent: it does not parse.
            DeliveryError: the answer could not be written; handle the request again.
        """
        request = _decode(raw)
        if request.request_id in self._ledger.answered:
            return False
        try:
            change = decide(self.standing(request.model), request)
            if change.champion is not None:
                bundle = load_bundle(
                    bundle_path(self._bundles, request.model, change.champion), self._trusted
                )
                if request.action == "approve":
                    self._check_policy_outlives(bundle)
        except (TransitionRefused, BundleRefused, ValueError) as error:
            if isinstance(error, BundleRefused):
                BUNDLE_REFUSED.labels(error.reason).inc()
            logger.warning("%s of %s by %s refused: %s", request.action, request.version, request.by, error)
            self._ledger.write_answer(answer(request, "refused", str(error), now), accepted=False)
            return True
        self._apply(request, change, now)
        return True

    def _check_policy_outlives(self, candidate: Bundle) -> None:
        """Raises: TransitionRefused if the candidate lacks what people set in the live policy."""
        live = self.standing(candidate.model).champion
        if live is None:
            return
        try:
            # also of another catalogue: only its policy is read
            policy = load_bundle(
                bundle_path(self._bundles, candidate.model, live), self._trusted, running=None
            ).policy
        except BundleRefused as error:
            logger.error("the live policy cannot be compared with that of %s: %s", candidate.version, error)
            return
        lost = [] if replaces(candidate.lineage, policy) else lost_parts(policy, candidate.policy)
        if lost:
            raise TransitionRefused(
                f"{candidate.version} would switch off what people set in the live policy {policy.version}: {'; '.join(lost)}. "
                f"`tollgate models rebase {candidate.version}` publishes its model with the live policy"
            )

    def serve_first(self, now: datetime, model: str = MODEL) -> str | None:
        """If no version is served, serve the one that was approved when it was trained; returns it, or None."""
        standing = self.standing(model)
        version = first_model(standing)
        if version is None or version in self._refused_first:
            return None
        try:
            load_bundle(bundle_path(self._bundles, model, version), self._trusted)
        except BundleRefused as error:
            BUNDLE_REFUSED.labels(error.reason).inc()
            logger.error("the first model was refused: %s", error)
            self._refused_first.add(version)
            return None
        approved = read_state(self._bundles, model, version)
        by, why = (approved.by, approved.why) if approved else ("unknown", "")
        request = RolloutRequest(
            request_id=f"first-{model}-{version}", action="approve", model=model, version=version, by=by,
            why=why, requested_at=now,
        )  # fmt: skip
        self._apply(request, Change(version, None, "live", {version: "live"}), now)
        return version

    def settle(self, now: datetime) -> None:
        """Update the states on disk from the newest records: after a crash they may be one step behind."""
        for model, record in self._ledger.newest.items():
            wanted = {record.champion: "live"}
            for version, state in states(self._bundles, model).items():
                if version != record.champion and state == "live":
                    wanted[version] = "rolled back" if record.state == "rolled_back" else "superseded"
            for version, target in wanted.items():
                known = read_state(self._bundles, model, version)
                if (known.state if known else None) != target:
                    self._write(model, {version: target}, record.approved_by, record.why, now)  # type: ignore[dict-item]

    def standing(self, model: str) -> Standing:
        """The current standing of a model."""
        newest = self._ledger.newest.get(model)
        present = states(self._bundles, model)
        if newest is None:
            return Standing(None, None, 0, present)
        return Standing(newest.champion, newest.previous, newest.sequence, present)

    def _apply(self, request: RolloutRequest, change: Change, now: datetime) -> None:
        if change.champion is None:
            self._write(request.model, change.states, request.by, request.why, now)
            self._ledger.write_answer(answer(request, "rejected", request.why, now), accepted=True)
            return
        newest = self._ledger.newest.get(request.model)
        record = RolloutRecord(
            model=request.model, champion=change.champion, previous=change.previous,
            arms={"champion": change.champion}, traffic={"champion": 1.0}, state=change.record_state,
            approved_by=request.by, why=request.why, since=now, sequence=(newest.sequence if newest else 0) + 1,
        )  # fmt: skip
        # the record first: replicas follow it; after a crash settle() updates the states
        self._ledger.write(record, request.request_id)
        self._write(request.model, change.states, request.by, request.why, now)
        logger.info("%s %s is %s (sequence %d)", record.model, record.champion, record.state, record.sequence)

    def _write(self, model: str, changes: dict, by: str, why: str, now: datetime) -> None:
        for version, state in changes.items():
            write_state(self._bundles, model, version, VersionState(state=state, since=now, by=by, why=why))
