"""Handles a request: verify who signed it, apply the rules, verify the bundle, write answer and record, update states on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from models.bundle.content import MODEL, Bundle, BundleRefused, bundle_path, check_declared, load_bundle
from models.bundle.registry import State, VersionState, read_state, states, write_state
from models.evidence.pack import EvidenceRefused, check_pack
from models.policy.outliving import lost_parts, replaces
from models.policy.rules.attributes import attribute_errors
from models.rollout.plan import DEFAULT_PLAN, PlanError, parse_plan
from models.rollout.progress import Move, RunAction, asked, begin
from models.rollout.run import UNDER_WAY, Run
from models.rollout.transitions import (
    Change,
    RolloutRequest,
    Standing,
    TransitionRefused,
    decide,
    first_model,
    reviewed_by,
)
from services.rollout.confirmation import Loading, loading
from services.rollout.forgeries import Forgeries
from services.rollout.ledger import Ledger, Statement
from services.rollout.requests import decode_request
from services.rollout.runs import Counting, Runs, after, watching
from services.rollout.status import note
from streams.access.api_keys import read_keys
from streams.access.console_events import read_events
from streams.access.directory import AccessDenied, Directory, Member, read_directory
from streams.access.roles import Permission
from streams.access.signatures import Forged, signer
from streams.access.signed_record import Signed
from streams.contracts.rollout import RolloutRecord
from streams.log.topics import ROLLOUT_REQUESTS
from streams.runtime.metrics import BUNDLE_REFUSED
from streams.runtime.settings import Settings
from streams.runtime.skips import Skips

logger = logging.getLogger(__name__)
#: a request is refused when it is older, so that a copy of it cannot be sent again later, or is dated ahead of the clock
MAX_AGE, MAX_AHEAD = timedelta(hours=24), timedelta(minutes=5)
PERMISSIONS: dict[str, Permission] = {
    "approve": "approve", "promote": "approve", "reject": "reject", "rollback": "rollback", "rollout": "approve",
    "step": "approve", "resume": "approve", "pause": "rollback", "abort": "rollback",
}  # fmt: skip


class Rollout:
    """Applies requests in order. Only this process changes the state of a published bundle."""

    def __init__(
        self, settings: Settings, ledger: Ledger, watch: Callable[[Run], Counting] | None = None,
        ask_replicas: Callable[[int], Loading] | None = None,
    ) -> None:  # fmt: skip
        """``watch``, ``ask_replicas``: as for ``Runs``; default: on the stack's broker and its replicas."""
        self._bundles = settings.bundles_dir
        self._trusted = settings.keys_dir / "trusted"
        self._declared = settings.declared
        self._access = settings.access_dir
        self._ledger = ledger
        self._forgeries = Forgeries(ledger)
        self._skips = Skips(settings.run_dir)
        self._refused_first: set[str] = set()
        self.runs = Runs(
            ledger, watch or watching(settings.kafka), ask_replicas or partial(loading, settings), self.settle,
            partial(note, settings.rollout_dir),
        )  # fmt: skip

    def handle(self, record: Signed, now: datetime) -> bool:
        """Answer one request; False if nobody known signed it, or it was answered before.

        Raises:
            InvalidEvent: it does not parse.
            DeliveryError: the answer could not be written; handle the request again.
        """
        directory = read_directory(self._access)
        try:
            member = signer(directory, ROLLOUT_REQUESTS.name, record)
        except Forged as error:
            self._forgeries.refuse(record, error, now)
            return False
        request = decode_request(record.value)
        if request.request_id in self._ledger.answered:
            return False
        said = _statement(request, member)
        try:
            _check_signer(directory, member, request, now)
            if request.action in ("pause", "resume", "step", "abort"):
                self._move(request, said, now)
                return True
            standing = self.standing(request.model)
            change = decide(standing, request)
            plan = parse_plan(request.plan) if request.plan is not None else DEFAULT_PLAN
            reviewed = self._checked(request, change, member, directory, now)
        except (
            TransitionRefused,
            BundleRefused,
            EvidenceRefused,
            AccessDenied,
            PlanError,
            ValueError,
        ) as error:
            if isinstance(error, BundleRefused):
                BUNDLE_REFUSED.labels(error.reason).inc()
            logger.warning("%s of %s by %s refused: %s", request.action, request.version, member.name, error)
            self._ledger.note(said, "refused", _answer(request, "refused", str(error), now), now)
            return True
        if request.action == "rollout" and change.champion is not None:
            run = begin(
                request.request_id,
                plan,
                str(standing.champion),
                change.champion,
                member.name,
                now,
                reviewed=reviewed,
            )
            self._start(run, said, now)
        else:
            self._apply(request, said, change, reviewed, now)
        return True

    def _start(self, run: Run, said: Statement, now: datetime) -> None:
        """Write the record with which replicas load the challenger; it has no share yet."""
        record = after(self._ledger.newest[said.model], Move(run, said.why), said, now)
        self._ledger.write(record, said)
        self.settle(now)
        logger.info("rollout of %s begins (sequence %d)", run.challenger, record.sequence)

    def _move(self, request: RolloutRequest, said: Statement, now: datetime) -> None:
        """Raises: TransitionRefused."""
        run = self.runs.under_way
        if run is None or request.model != MODEL:
            raise TransitionRefused(f"no rollout of {request.model} is under way (`tollgate rollout status`)")
        if request.version not in (None, run.challenger):
            raise TransitionRefused(f"the rollout under way is of {run.challenger}, not of {request.version}")
        seen = self.runs.measured
        run = msgspec.structs.replace(run, checks=seen.checks, figures=seen.figures)
        action: RunAction = request.action  # type: ignore[assignment]
        self.runs.move(
            asked(run, action, request.why, now), msgspec.structs.replace(said, version=run.challenger), now
        )

    def _check_policy_outlives(self, candidate: Bundle) -> None:
        """Raises: TransitionRefused if the candidate lacks what people set in the live policy."""
        live = self._live_beside(candidate)
        if live is None or replaces(candidate.lineage, live.policy):
            return
        policy = live.policy
        lost = lost_parts(policy, candidate.policy)
        if lost:
            raise TransitionRefused(
                f"{candidate.version} would switch off what people set in the live policy {policy.version}: {'; '.join(lost)}. "
                f"`tollgate models rebase {candidate.version}` publishes its model with the live policy"
            )

    def _check_attributes(self, candidate: Bundle) -> None:
        """Raises: TransitionRefused if the candidate's rules or lists name attributes that the stack does not declare so."""
        errors = attribute_errors(candidate.policy.rules, candidate.policy.lists, self._declared)
        if errors:
            raise TransitionRefused(
                f"the policy of {candidate.version} names what is not there: {'; '.join(errors)}"
            )

    def _check_evidence(self, candidate: Bundle, named: str | None, now: datetime) -> None:
        """Raises: EvidenceRefused if an approval may not rest on the pack that it names."""
        live = self._live_beside(candidate)
        check_pack(self._bundles, self._trusted, candidate, named, live=live, now=now)

    def _live_beside(self, candidate: Bundle) -> Bundle | None:
        """The live bundle, also of another catalogue; None if there is none, or it cannot be read."""
        version = self.standing(candidate.model).champion
        if version is None:
            return None
        try:
            return load_bundle(
                bundle_path(self._bundles, candidate.model, version), self._trusted, running=None
            )
        except BundleRefused as error:
            logger.error("the live model cannot be compared with %s: %s", candidate.version, error)
            return None

    def serve_first(self, now: datetime, model: str = MODEL) -> str | None:
        """If no version is served, serve the one that was approved when it was trained; returns it, or None."""
        version = first_model(self.standing(model))
        if version is None or version in self._refused_first:
            return None
        try:
            self._load(model, version)
        except BundleRefused as error:
            BUNDLE_REFUSED.labels(error.reason).inc()
            logger.error("the first model was refused: %s", error)
            self._refused_first.add(version)
            return None
        known = read_state(self._bundles, model, version)
        by, why = (known.by, known.why) if known else ("unknown", "")
        request = RolloutRequest(
            request_id=f"first-{model}-{version}-{now.isoformat()}", action="approve", model=model, version=version, by=by,
            why=why, requested_at=now,
        )  # fmt: skip
        said = Statement(
            action="serve first", model=model, version=version, by=by, signed_by="rollout", role="service", why=why,
            request_id=request.request_id,
        )  # fmt: skip
        reviewed = known is not None and known.reviewed
        self._apply(request, said, Change(version, None, "live", {version: "live"}), reviewed, now)
        return version

    def settle(self, now: datetime) -> None:
        """Update the states on disk from the newest records: after a crash they may be one step behind."""
        for model, record in self._ledger.newest.items():
            wanted = {record.champion: "live", **_of_challenger(record)}
            for version, state in states(self._bundles, model).items():
                if version != record.champion and state == "live":
                    wanted[version] = "rolled back" if record.state == "rolled_back" else "superseded"
            for version, target in wanted.items():
                known = read_state(self._bundles, model, version)
                if (known.state if known else None) != target:
                    self._write(record, {version: target}, now)

    def note_access(self, now: datetime) -> None:
        """Append who was added or revoked to the audit, people, services and API keys, once each."""
        for member in read_directory(self._access).members:
            detail = {"name": member.name, "role": member.role, "key": member.key}
            self._note_once("access add", member.added_by, member.added_at, detail, now)
            if member.revoked_at is not None:
                self._note_once("access revoke", member.revoked_by or "", member.revoked_at, detail, now)
        for key in read_keys(self._access):
            detail = {"name": key.name, "role": key.role, "id": key.id, "tenant": key.tenant}
            self._note_once("access key add", key.created_by, key.created_at, detail, now)
            if key.revoked_at is not None:
                self._note_once("access key revoke", key.revoked_by or "", key.revoked_at, detail, now)

    def note_skips(self, now: datetime) -> None:
        """Append the records that were set aside to the audit, by a person or because they ended their worker, once each."""
        for skip in self._skips.all():
            place = f"{skip.topic}/{skip.partition}/{skip.offset}"
            detail = {"name": place, "reason": skip.reason, "why": skip.why}
            self._note_once("skip", skip.by, datetime.fromisoformat(skip.at), detail, now)

    def note_console(self, now: datetime) -> None:
        """Append what happened at the console's door to the audit, once each: sign-ins, lockouts, what was refused."""
        for event in read_events(self._access):
            detail = {"name": event.name, "role": event.role, "id": event.id, "reason": event.why}
            self._note_once(f"console {event.kind}", event.name, event.at, detail, now)

    def standing(self, model: str) -> Standing:
        """The current standing of a model."""
        newest = self._ledger.newest.get(model)
        present = states(self._bundles, model)
        if newest is None:
            return Standing(None, None, 0, present)
        run = newest.run if newest.state in UNDER_WAY else None
        return Standing(
            newest.champion,
            newest.previous,
            newest.sequence,
            present,
            newest.reviewed,
            run.challenger if run else None,
        )

    def _checked(
        self, request: RolloutRequest, change: Change, member: Member, directory: Directory, now: datetime
    ) -> bool:
        """Verify the bundle that a change serves; returns whether somebody else than its author has approved it.

        Raises:
            BundleRefused: its verification failed. TransitionRefused: its author may not approve it.
            EvidenceRefused: the approval does not rest on evidence that holds.
        """
        if change.champion is None:
            return False
        bundle = self._load(request.model, change.champion)
        if request.action in ("approve", "rollout"):
            self._check_policy_outlives(bundle)
            self._check_attributes(bundle)
            self._check_evidence(bundle, request.evidence, now)
        known = read_state(self._bundles, request.model, change.champion)
        if request.action == "rollback" or (known is not None and known.reviewed):
            return known is not None and known.reviewed
        others = [m.name for m in directory.people() if m.may("approve") and m.name != member.name]
        reviewed = reviewed_by(member.name, author_of(bundle), others)
        if not reviewed and change.champion == self.standing(request.model).champion:
            raise TransitionRefused(
                f"{change.champion} is live already, and {member.name} proposed it: only somebody else's approval is a review"
                " (`tollgate access add NAME --role approver`)"
            )
        return reviewed

    def _load(self, model: str, version: str) -> Bundle:
        bundle = load_bundle(bundle_path(self._bundles, model, version), self._trusted)
        check_declared(bundle.path, bundle.attributes, self._declared)
        return bundle

    def _apply(
        self, request: RolloutRequest, said: Statement, change: Change, reviewed: bool, now: datetime
    ) -> None:
        if change.champion is None:
            self._ledger.note(said, "accepted", _answer(request, "rejected", request.why, now), now)
            for version in change.states:
                rejected = VersionState(state="rejected", since=now, by=request.by, why=request.why)
                write_state(self._bundles, request.model, version, rejected)
            return
        record = RolloutRecord(
            model=request.model, champion=change.champion, previous=change.previous,
            arms={"champion": change.champion}, traffic={"champion": 1.0}, state=change.record_state,
            approved_by=request.by, why=request.why, since=now, sequence=self._ledger.sequence(request.model) + 1,
            signed_by=said.signed_by, reviewed=reviewed, evidence=request.evidence or "",
        )  # fmt: skip
        # the record first: replicas follow it; after a crash settle() updates the states
        self._ledger.write(record, said)
        self._write(record, change.states, now)
        logger.info("%s %s is %s (sequence %d)", record.model, record.champion, record.state, record.sequence)

    def _write(self, record: RolloutRecord, changes: dict[str, Any], now: datetime) -> None:
        for version, state in changes.items():
            known = read_state(self._bundles, record.model, version)
            reviewed = _reviewed(record, version) or (known is not None and known.reviewed)
            told = VersionState(
                state=state,
                since=now,
                by=record.approved_by,
                why=record.why,
                signed_by=record.signed_by,
                reviewed=reviewed,
            )
            write_state(self._bundles, record.model, version, told)

    def _note_once(self, action: str, by: str, at: datetime, detail: dict[str, str], now: datetime) -> None:
        what = "-".join([*action.split(), detail["name"], detail.get("id", ""), at.isoformat()])
        if what not in self._ledger.noted:
            said = Statement(action=action, by=by, request_id=what)
            self._ledger.note(said, "accepted", {**detail, "at": at.isoformat()}, now)


def author_of(bundle: Bundle) -> str | None:
    """The person who trained or proposed a bundle; None where a service did."""
    author = bundle.lineage.get("proposed_by")
    return author if isinstance(author, str) and author else None


def _of_challenger(record: RolloutRecord) -> dict[str, State]:
    """The state that the challenger of the newest rollout has on disk."""
    run = record.run
    if run is None or run.challenger == record.champion:
        return {}
    return {run.challenger: "approved" if record.state in UNDER_WAY else "rolled back"}


def _reviewed(record: RolloutRecord, version: str) -> bool:
    if version == record.champion:
        return record.reviewed
    return record.run is not None and version == record.run.challenger and record.run.reviewed


def _check_signer(directory: Directory, member: Member, request: RolloutRequest, now: datetime) -> None:
    """Raises: AccessDenied, TransitionRefused."""
    directory.require(member.name, PERMISSIONS[request.action])
    if request.by != member.name and directory.active(request.by) is not None:
        raise TransitionRefused(
            f"the request names {request.by}, but {member.name} signed it: {request.by} must sign it (`--as {request.by}`)"
        )
    if not now - MAX_AGE <= request.requested_at <= now + MAX_AHEAD:
        raise TransitionRefused(
            f"the request is of {request.requested_at.isoformat()}, more than a day old or ahead of the clock: ask again"
        )


def _statement(request: RolloutRequest, member: Member) -> Statement:
    return Statement(
        action=request.action, model=request.model, version=request.version, by=request.by, signed_by=member.name,
        role=member.role, why=request.why, request_id=request.request_id,
    )  # fmt: skip


def _answer(request: RolloutRequest, state: str, reason: str, now: datetime) -> dict[str, Any]:
    """The answer to a request that did not change what is served: it was refused, or it rejected a version."""
    return {
        "request_id": request.request_id, "action": request.action, "model": request.model, "version": request.version,
        "by": request.by, "why": request.why, "state": state, "reason": reason, "answered_at": now.isoformat(),
        "evidence": request.evidence,
    }  # fmt: skip
