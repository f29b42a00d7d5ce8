"""What a rollout's status says: the newest record, the figures of the last look, and the history from the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from models.rollout.progress import Measured, step_of
from models.rollout.run import UNDER_WAY, Check, Run
from streams.access.audit_chain import NoEntry, opened
from streams.access.directory import read_directory
from streams.access.private_files import write_private
from streams.contracts.audit import AuditEntry
from streams.contracts.rollout import RolloutRecord
from streams.log.rollouts.feed import newest_rollout, read_all
from streams.log.topics import AUDIT
from streams.runtime.settings import Settings

READ_S = 60.0
#: changes to show of a model without a rollout under way
SHOWN = 20
_FILE = "look.json"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The last look at a step, for people to see; nothing is decided by it, and nothing depends on the file."""

    run: str
    step: int
    at: datetime
    decisions: int
    last_data: datetime | None
    checks: tuple[Check, ...]
    figures: dict[str, float]


def note(folder: Path, run: Run, measured: Measured, now: datetime) -> None:
    """Store the last look, ``<home>/rollout/look.json``."""
    look = Look(
        run=run.id, step=run.step, at=now, decisions=measured.decisions, last_data=measured.last_data, checks=measured.checks,
        figures=measured.figures,
    )  # fmt: skip
    write_private(folder / _FILE, msgspec.json.encode(look))


def rollout_status(settings: Settings, model: str) -> dict[str, Any]:
    """The status of a model's rollout: see ``infra/decisions/0031-rollouts.md`` for its fields.

    Raises:
        RolloutsUnreachable: the topics could not be read in time.
    """
    record = newest_rollout(settings, model)
    if record is None:
        return _idle(model)
    look = _look(settings.rollout_dir)
    run = record.run
    current = (
        run is not None
        and look is not None
        and (look.run, look.step) == (run.id, run.step)
        and record.state in UNDER_WAY
    )
    checks: Sequence[Check] = look.checks if look is not None and current else run.checks if run else ()
    seen: dict[str, Any] = {"decisions": None, "last_data": None, "looked_at": None}
    if look is not None and current:
        seen = {"decisions": look.decisions, "last_data": look.last_data, "looked_at": look.at}
    figures = look.figures if look is not None and current else run.figures if run else {}
    answer = {
        "model": model, "state": "idle" if record.state == "live" else record.state, "step": run.step if run else 0,
        "steps": [msgspec.to_builtins(step) for step in run.plan.steps] if run else [],
        "plan_kind": step_of(run).kind if run else None, "arms": _arms(record), "traffic": _traffic(record),
        "shadow": record.shadow, "since": record.since, "step_since": run.step_since if run else None,
        "started_at": run.started_at if run else None, "started_by": run.started_by if run else "", "why": record.why,
        "by": record.approved_by, "pause": run.pause if run else "", "loaded": run.loaded if run else True, **seen,
        "checks": checks, "figures": figures, "history": [_change(one) for one in _records(settings, model)[-SHOWN:]],
    }  # fmt: skip
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found


def record_at(settings: Settings, model: str, at: datetime) -> RolloutRecord | None:
    """The record that was in force at a moment, from the audit; None before the first.

    Raises:
        RolloutsUnreachable: the audit could not be read in time.
    """
    before = [record for record in _records(settings, model) if record.since <= at]
    return before[-1] if before else None


def _records(settings: Settings, model: str) -> list[RolloutRecord]:
    """Every change of what is served, oldest first, as the audit has it."""
    directory = read_directory(settings.access_dir)
    found: list[RolloutRecord] = []
    for message in read_all(settings, AUDIT.name, timeout_s=READ_S):
        try:
            entry = opened(message.value() or b"", directory)
        except NoEntry:
            # `tollgate audit verify` says so
            continue
        if _changes(entry, model):
            found.append(msgspec.convert(entry.detail, RolloutRecord))
    return found


def _changes(entry: AuditEntry, model: str) -> bool:
    return entry.model == model and entry.result == "accepted" and "sequence" in entry.detail


def _look(folder: Path) -> Look | None:
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=Look)
    except (OSError, msgspec.MsgspecError):
        return None


def _idle(model: str) -> dict[str, Any]:
    return {
        "model": model, "state": "idle", "step": 0, "steps": [], "plan_kind": None, "arms": {"champion": None, "challenger": None},
        "traffic": {"champion": 1.0, "challenger": 0.0}, "shadow": False, "since": None, "step_since": None,
        "started_at": None, "started_by": "", "why": "", "by": "",
        "pause": "", "loaded": True, "decisions": None, "last_data": None, "looked_at": None, "checks": [], "figures": {},
        "history": [],
    }  # fmt: skip


def _arms(record: RolloutRecord) -> dict[str, str | None]:
    return {"champion": record.champion, "challenger": record.arms.get("challenger")}


def _traffic(record: RolloutRecord) -> dict[str, float]:
    return {
        "champion": record.traffic.get("champion", 1.0),
        "challenger": record.traffic.get("challenger", 0.0),
    }


def _change(record: RolloutRecord) -> dict[str, Any]:
    run = record.run
    return {
        "at": record.since, "state": record.state, "step": run.step if run else 0, "pause": run.pause if run else "",
        **_arms(record), "traffic": _traffic(record), "by": record.approved_by, "why": record.why,
        "sequence": record.sequence, "checks": run.checks if run else (),
    }  # fmt: skip
