"""Questions to the rest of the stack, answered by the functions that the CLI calls. Tests replace this class by one that answers from memory."""

from __future__ import annotations

import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from infra import stack
from infra.oncall.alerts import silence
from infra.oncall.diagnosis import diagnose
from infra.oncall.pages import Pages
from infra.stack.tools import CHECKOUT
from models.bundle.content import MODEL, Bundle, BundleRefused, bundle_path, load_bundle
from models.bundle.registry import versions
from models.policy.checking import warnings
from models.policy.policy import Policy
from models.policy.policy_export import as_toml
from models.rollout.plan import PlanError, parse_plan
from models.rollout.transitions import Action
from services.cli.audit import checked_chain, newest_entries
from services.cli.models.drift import newest
from services.cli.models.drift_findings import findings
from services.cli.models.rows import shown_version, version_row
from services.cli.one_decision.shown import answer_of, bundle_of
from services.cli.operating.tracing import as_builtins
from services.cli.rules.policy_versions import FileRefused, described, load_policy_file
from services.cli.rules.view import listed
from services.console.outside.card_history import payments_of_card
from services.console.outside.commands import Commands
from services.console.outside.distribution import distribution
from services.console.outside.remembered import Remembered
from services.console.problems import invalid, too_many, unknown
from services.rollout.confirmation import confirm
from services.rollout.requests import ask
from services.rollout.status import rollout_status
from streams.audit.dead_letter_replay import Refused, list_refused
from streams.audit.decided_payment import DecidedPayment, find_decision
from streams.audit.trace_of import trace_of
from streams.log.topics import DRIFT, RETRAINING
from streams.runtime.kafka.clients import new_consumer
from streams.runtime.settings import Settings, load_settings

RUNBOOKS = CHECKOUT / "infra" / "runbooks"
#: how long an answer about the whole stack is good for
STATUS_S, LAG_S, ROLLOUT_S = 10.0, 10.0, 8.0
#: reads of log and archive at once: each may use a core for a second
READS, READ_WAIT_S = 3, 10.0
METRICS_WITHIN_S = 2.0
DRIFT_ROWS, REQUESTS = 5_000, 20


class Outside:
    """The parts of one stack, as its console asks them."""

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self.commands = Commands(settings.home)
        self._places = threading.BoundedSemaphore(READS)
        self.status = Remembered(self._status, STATUS_S)
        self.lag = Remembered(self._lag, LAG_S)
        self.rollout = Remembered(self._rollout, ROLLOUT_S)
        self.doctor = Remembered(self._doctor, STATUS_S)

    @property
    def settings(self) -> Settings:
        """As they are now: a mock broker chooses its address when it starts."""
        return load_settings(self._home)

    # -- the stack and its alerts --------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        """As ``tollgate status --json``, without passwords."""
        settings = self.settings
        return {**stack.report(settings), "redis": settings.redis_shown}

    def _doctor(self) -> dict[str, Any]:
        """As ``tollgate doctor --live --json``."""
        found = diagnose(self.settings)
        return {"healthy": found.healthy, "findings": [each.as_dict() for each in found.findings]}

    def _lag(self) -> list[dict[str, Any]] | None:
        """Records that each group has not read yet, by topic, as oncall sees them; None while it does not answer."""
        url = f"http://127.0.0.1:{self.settings.metrics_port('oncall')}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=METRICS_WITHIN_S) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None
        found: dict[tuple[str, str], int] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name == "tollgate_consumer_lag" else ():
                place = (sample.labels["group"], sample.labels["topic"])
                found[place] = found.get(place, 0) + int(sample.value)
        return [{"group": group, "topic": topic, "records": n} for (group, topic), n in sorted(found.items())]

    def sent_pages(self, count: int) -> list[dict[str, Any]]:
        """The newest alerts that were sent."""
        return Pages(self.settings.root / "oncall" / "pages.jsonl").read(count) if count else []

    def runbooks(self) -> list[str]:
        """The alerts that have a runbook."""
        return sorted(path.stem for path in RUNBOOKS.glob("*.md"))

    def runbook(self, name: str) -> str:
        """The text of a runbook, in Markdown. Raises: Problem 404."""
        # only a name of the list is opened, whatever is asked
        if name not in self.runbooks():
            raise unknown(f"there is no runbook {name}")
        return (RUNBOOKS / f"{name}.md").read_text()

    def silence(self, alert: str, minutes: int, by: str, why: str, now: datetime) -> str:
        """Silence an alert; returns the silence's id. Raises: AlertmanagerUnavailable."""
        return silence(self.settings.alertmanager, alert, now, timedelta(minutes=minutes), by, why)

    # -- decisions and what was refused --------------------------------------------------------------------------

    def decision(self, tenant: str, transaction_id: str) -> tuple[dict[str, Any], DecidedPayment] | None:
        """As ``tollgate decisions show --json``, and what it was made from; None if nothing is known of it."""
        settings = self.settings
        with self._reading():
            found = find_decision(settings, tenant, transaction_id, time.time())
        if found is None:
            return None
        return answer_of(found, bundle_of(settings, str(found.decision.get("model_version")))), found

    def card(self, tenant: str, card_id: str, until_ms: int, limit: int) -> list[dict[str, Any]]:
        """Archived payments of a card up to a moment, newest first."""
        with self._reading():
            return payments_of_card(self.settings.archive_dir, tenant, card_id, until_ms, limit)

    def trace(self, tenant: str, transaction_id: str) -> dict[str, Any]:
        """As ``tollgate trace --json``. Raises: Problem 404: the log does not hold it."""
        settings = self.settings
        with self._reading():
            found = find_decision(settings, tenant, transaction_id, time.time())
            traced = None if found is None else trace_of(settings, found)
        if found is None or traced is None:
            raise unknown(f"the log does not hold {transaction_id} (tenant {tenant}) any more")
        return as_builtins(traced, found.decision)

    def dead_letters(self, reason: str | None) -> list[Refused]:
        """All refused records, oldest first."""
        return list_refused(self.settings.kafka, reason)

    # -- models, rules, drift ------------------------------------------------------------------------------------

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

    # -- the audit -----------------------------------------------------------------------------------------------

    def audit(self, count: int) -> list[dict[str, Any]]:
        """The newest entries that verify, oldest first."""
        found: list[dict[str, Any]] = msgspec.to_builtins(newest_entries(self.settings, count)[0])
        return found

    def verify_audit(self) -> dict[str, Any]:
        """As ``tollgate audit verify --json``."""
        found: dict[str, Any] = msgspec.to_builtins(checked_chain(self.settings))
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A place among the few that read at once. Raises: Problem 429: none is free in time."""
        if not self._places.acquire(timeout=READ_WAIT_S):
            raise too_many("many payments are looked up at this moment", 2)
        try:
            yield
        finally:
            self._places.release()

    def _live(self) -> Bundle:
        served = stack.served_model(self.settings)
        if served is None:
            raise unknown("no model is served yet")
        return self._bundle(served["version"])

    def _bundle(self, version: str) -> Bundle:
        settings = self.settings
        if version not in versions(settings.bundles_dir, MODEL):
            raise unknown(f"there is no version {version}")
        try:
            return load_bundle(
                bundle_path(settings.bundles_dir, MODEL, version), settings.keys_dir / "trusted"
            )
        except OSError as error:
            raise BundleRefused("unreadable", str(error)) from error


@contextmanager
def policy_file(text: str) -> Iterator[Path]:
    """A policy's text as a file in a folder of its own, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="tollgate-policy-") as folder:
        path = Path(folder) / "policy.toml"
        path.write_text(text)
        yield path


def refused_row(refused: Refused) -> dict[str, Any]:
    """A dead letter as the API gives it: the original as text, as far as it can be read. Card numbers in it are masked already."""
    letter: dict[str, Any] = msgspec.to_builtins(refused.letter)
    raw = refused.letter.original_bytes()
    return {"id": refused.id, **letter, "original": None if raw is None else raw.decode("utf-8", "replace"), "replayed_at": refused.replayed_at}  # fmt: skip
