"""Questions about models, rules and drift, and what is asked of the rollout process in a person's name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from models.bundle.content import MODEL
from models.bundle.registry import versions
from models.policy.checking import warnings
from models.policy.policy import Policy
from models.policy.policy_export import as_toml
from models.rollout.plan import PlanError, parse_plan
from models.rollout.transitions import Action
from services.cli.models.drift import newest
from services.cli.models.drift_findings import findings
from services.cli.models.rows import shown_version, version_row
from services.cli.rules.policy_versions import FileRefused, described, load_policy_file
from services.cli.rules.view import listed
from services.console.outside.asked import Asked
from services.console.outside.distribution import distribution
from services.console.outside.remembered import Remembered
from services.console.problems import invalid
from services.rollout.confirmation import confirm
from services.rollout.requests import ask
from services.rollout.status import rollout_status
from streams.log.topics import DRIFT, RETRAINING
from streams.runtime.kafka.clients import new_consumer
from streams.runtime.settings import Settings

ROLLOUT_S = 8.0
DRIFT_ROWS, REQUESTS = 5_000, 20


class Models(Asked):
    """The models of one stack, their rules and what drifts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.rollout = Remembered(self._rollout, ROLLOUT_S)

    def models(self) -> list[dict[str, Any]]:
        """As ``tollgate models list --json``."""
        bundles = self.settings.bundles_dir
        return [version_row(bundles, version) for version in versions(bundles, MODEL)]

    def model(self, version: str) -> dict[str, Any]:
        """As ``tollgate models show --json``. Raises: Problem 404; BundleRefused."""
        return shown_version(self.settings, self._bundle(version))

    def change_model(
        self, action: Action, version: str | None, person: str, why: str, now: datetime
    ) -> dict[str, Any]:
        """Ask the rollout process in a person's name, signed with their key, and wait until the replicas serve what it says.

        Raises:
            AccessDenied, AccessError, RolloutRefused, RolloutTimeout, NotServed.
        """
        settings = self.settings
        answer = ask(settings, action, MODEL, version, person=person, why=why, now=now)
        if "sequence" in answer:
            answer["replicas"] = confirm(settings, answer["sequence"])
        return answer

    def _rollout(self) -> dict[str, Any]:
        """As ``tollgate rollout status --json``. Raises: RolloutsUnreachable."""
        return rollout_status(self.settings, MODEL)

    def change_rollout(
        self, action: Action, version: str | None, person: str, why: str, plan: str | None, now: datetime
    ) -> dict[str, Any]:
        """Begin a rollout, or pause, resume, step or abort the one under way, in a person's name and signed with their key.

        Raises:
            Problem 422: the plan does not fit. AccessDenied, AccessError, RolloutRefused, RolloutTimeout.
        """
        if plan is not None:
            try:
                parse_plan(plan)
            except PlanError as error:
                raise invalid("plan", str(error)) from error
        answer = ask(self.settings, action, MODEL, version, person=person, why=why, plan=plan, now=now)
        self.rollout.forget()
        return answer

    def rules(self, now: datetime) -> dict[str, Any]:
        """As ``tollgate rules list --json``. Raises: Problem 404: nothing is served yet."""
        return listed(self._live(), now)

    def rules_text(self) -> tuple[str, str]:
        """The live policy as a file to edit, and its version. Raises: Problem 404."""
        live = self._live()
        return as_toml(
            live.policy, f"policy {live.policy.version}, live with model {live.version}"
        ), live.policy.version

    def live_policy(self) -> Policy:
        """The live policy. Raises: Problem 404."""
        return self._live().policy

    def check_rules(self, text: str) -> dict[str, Any]:
        """As ``tollgate rules check --json``."""
        with policy_file(text) as path:
            try:
                found = load_policy_file(path, self.settings.declared)
            except FileRefused as error:
                return {"good": False, "errors": error.found, "warnings": []}
            return {"good": True, "errors": [], "warnings": list(warnings(found)), **described(found)}

    def test_rules(self, text: str, since: str) -> Any:
        """As ``tollgate rules test --json``. Raises: Problem."""
        with policy_file(text) as path:
            return self.commands.run(
                "rules", "test", options=[f"--since={since}"], given=[str(path)], within_s=120
            )

    def propose_rules(self, text: str, person: str, why: str) -> Any:
        """As ``tollgate rules publish --json``. Raises: Problem."""
        with policy_file(text) as path:
            options = [f"--as={person}", f"--why={why}"]
            return self.commands.run("rules", "publish", options=options, given=[str(path)], within_s=60)

    def drift(self) -> dict[str, Any]:
        """Findings as ``tollgate drift`` shows them, what drifts most first, and the newest retraining requests."""
        consumer = new_consumer(self.settings.kafka, "tollgate-console-drift")
        try:
            rows = newest(consumer, DRIFT.name, DRIFT_ROWS)
            requests = newest(consumer, RETRAINING.name, REQUESTS)
        finally:
            consumer.close()
        found = []
        for finding in findings(rows):
            row: dict[str, Any] = msgspec.to_builtins(finding.newest)
            found.append(
                {
                    **row,
                    "since": finding.since.isoformat(),
                    "last": row["window_end"],
                    "rounds": finding.rounds,
                }
            )
        return {"findings": found, "retraining": msgspec.to_builtins(requests)}

    def distribution(self, feature: str) -> dict[str, Any] | None:
        """A feature, or the score, in the live model's reference and now; None if that cannot be said. Raises: Problem 404."""
        reference = self._live().reference
        with self._reading():
            return distribution(self.settings.archive_dir, reference, feature)


@contextmanager
def policy_file(text: str) -> Iterator[Path]:
    """A policy's text as a file in a folder of its own, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="tollgate-policy-") as folder:
        path = Path(folder) / "policy.toml"
        path.write_text(text)
        yield path
