"""The status of a stack: its state, its addresses, and every process with its memory and CPU time."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from infra.oncall.alerts import AlertmanagerUnavailable, firing
from infra.stack.errors import StackError
from infra.stack.health.causes import NEEDED, causes
from infra.stack.health.problem import Problem
from infra.stack.supervisor import Supervisor, restarts
from streams.log.rollouts.kept import kept_rollout
from streams.runtime.settings import Settings

#: exit when their work is done
ONCE = ("feast-apply", "broker-warm-up")
MODEL = "fraud"
ADDRESSES = ("kafka", "http", "redis", "prometheus", "alertmanager", "mlflow", "console", "oncall")
_WORDS = {
    "RUNNING": "running",
    "STARTING": "starting",
    "BACKOFF": "restarting",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
    "EXITED": "exited",
    "FATAL": "failed",
}


def report(settings: Settings) -> dict[str, Any]:
    """The value of ``tollgate status --json``."""
    listed = processes(settings)
    found = causes(settings, listed, supervised(settings))
    return {
        "state": state(settings, listed, found),
        "problems": [problem.text for problem in found],
        **{name: getattr(settings, name) for name in ADDRESSES},
        "embedded": settings.embedded,
        "secure": settings.secure,
        "model": served_model(settings),
        "processes": listed,
        "alerts": alerts(settings),
    }


def no_stack(why: str) -> dict[str, Any]:
    """The same where no stack was started, or its settings cannot be read: down, at no address."""
    return {
        "state": "down",
        "problems": [why],
        **dict.fromkeys(ADDRESSES),
        "embedded": False,
        "secure": False,
        "model": None,
        "processes": [],
        "alerts": None,
    }


def state(settings: Settings, listed: list[dict[str, Any]], found: Sequence[Problem] = ()) -> str:
    """``down``, ``starting``, ``degraded`` (it decides, but a process beside the hot path is missing) or ``ready``.

    ``starting`` also if all processes run but something stops decisions, such as a Kafka or Redis that does not answer.
    """
    states = {process["name"]: process["state"] for process in listed}
    if not states or all(value in ("stopped", "exited") for value in states.values()):
        return "down"
    if any(states.get(name) != "running" for name in needed(settings)) or any(
        problem.stops for problem in found
    ):
        return "starting"
    if not answering(settings):
        return "starting"
    # processes beside the hot path may still be starting: no decision waits for them
    return "ready" if set(states.values()) <= {"running", "starting"} and not found else "degraded"


def needed(settings: Settings) -> tuple[str, ...]:
    """The processes of this stack without which no transaction is decided."""
    here = settings.elsewhere
    away = {name for name, part in (("kafka", here.kafka), ("redis", here.redis)) if part is not None}
    return tuple(name for name in NEEDED if name not in away)


def alerts(settings: Settings) -> list[dict[str, Any]] | None:
    """The alerts that fire now, pages first; None when Alertmanager does not answer."""
    try:
        return [one._asdict() for one in firing(settings.alertmanager)]
    except AlertmanagerUnavailable:
        return None


def answering(settings: Settings) -> bool:
    """Whether the HTTP edge is ready; before the first model is approved, whether it is alive."""
    if _status_code(f"{settings.http}/readyz") == 200:
        return True
    return _status_code(f"{settings.http}/healthz") == 200 and not _model_is_live(settings)


def processes(settings: Settings) -> list[dict[str, Any]]:
    """One entry per process: name, pid, state, restarts, rss_mb, cpu_s. Empty if no stack runs.

    Memory and CPU include child processes, except those with an entry of their own (Ray's replicas).
    """
    known = supervised(settings)
    if not known:
        return []
    again = restarts(settings)
    scoring = replicas(settings.run_dir)
    pids = {info["pid"] for info in known.values() if info["pid"]} | {pid for _, pid, _ in scoring}
    out = [
        _entry(name, info["pid"], _WORDS.get(info["statename"], "failed"), again[name], pids)
        for name, info in known.items()
        if name not in ONCE
    ]
    for name, pid, count in scoring:
        alive = psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        out.append(_entry(name, pid if alive else 0, "running" if alive else "exited", count, pids))
    return out


def supervised(settings: Settings) -> dict[str, dict[str, Any]]:
    """supervisord's information on each process by name. Empty if no stack runs."""
    try:
        return Supervisor(settings).states()
    except StackError:
        return {}


def replicas(run_dir: Path) -> list[tuple[str, int, int]]:
    """(name, pid, restarts) of Ray's replicas: each appends its pid as a line to ``<name>.pid``."""
    found = []
    for path in sorted(run_dir.glob("scoring-*.pid")):
        lines = path.read_text().split()
        if lines and lines[-1].isdigit():
            found.append((path.stem, int(lines[-1]), len(lines) - 1))
    return found


def _entry(name: str, pid: int, word: str, again: int, listed: set[int]) -> dict[str, Any]:
    rss, cpu_s = _usage(pid, listed) if pid else (0, 0.0)
    return {
        "name": name,
        "pid": pid or None,
        "state": word,
        "restarts": again,
        "rss_mb": round(rss / 2**20),
        "cpu_s": round(cpu_s, 2),
    }


def _usage(pid: int, listed: Iterable[int]) -> tuple[int, float]:
    try:
        process = psutil.Process(pid)
        family = [process, *(child for child in process.children(recursive=True) if child.pid not in listed)]
    except psutil.Error:
        return 0, 0.0
    rss, cpu_s = 0, 0.0
    for member in family:
        try:
            with member.oneshot():
                times = member.cpu_times()
                rss += member.memory_info().rss
                cpu_s += times.user + times.system
        except psutil.Error:
            continue
    return rss, cpu_s


def _status_code(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _model_is_live(settings: Settings) -> bool:
    return kept_rollout(settings.rollout_dir, MODEL) is not None


def served_model(settings: Settings) -> dict[str, Any] | None:
    """The model that was rolled out; ``reviewed`` False: nobody but who proposed it has approved it. None before the first."""
    record = kept_rollout(settings.rollout_dir, MODEL)
    if record is None:
        return None
    return {
        "version": record.champion, "reviewed": record.reviewed, "approved_by": record.approved_by,
        "since": record.since.isoformat(),
    }  # fmt: skip
