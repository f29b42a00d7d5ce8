"""Processes that should run and do not: killed, exited, or given up by supervisord."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.stack.health.problem import Problem, runbook_of
from streams.runtime.settings import Settings

#: words of ``tollgate status``
_GONE = {
    "stopped": "is stopped",
    "exited": "has ended",
    "failed": "ended so often that it is not started again",
    "restarting": "has ended and is being started again",
}


def gone(
    settings: Settings,
    listed: Sequence[Mapping[str, Any]],
    supervised: Mapping[str, Mapping[str, Any]],
    needed: Container[str],
) -> list[Problem]:
    """One problem for each process that was started and does not run; nothing of a stack that is down altogether.

    ``listed``: the processes of ``tollgate status``; ``supervised``: supervisord's information by name, with ``start`` and ``stop`` in
    seconds since 1970 (0: never). A replica that ended because ``scoring`` did is not named beside it.
    """
    words = {process["name"]: process["state"] for process in listed}
    if not any(word in ("running", "starting") for word in words.values()):
        return []
    found = []
    for name, word in words.items():
        info = supervised.get(name)
        if word not in _GONE or (info is not None and not info["start"]):
            continue
        if info is None and words.get("scoring") != "running":
            continue
        found.append(
            Problem(
                f"{name} {_GONE[word]}: {_step(settings, name)}",
                name in needed or name.startswith("scoring-stream-"),
                runbook_of(name),
                name,
                datetime.fromtimestamp(info["stop"], UTC) if info is not None and info["stop"] else None,
            )
        )
    return found


def _step(settings: Settings, name: str) -> str:
    if name == "kafka" and settings.embedded:
        return "the mock broker keeps nothing: `tollgate down`, `tollgate up`"
    return f"`tollgate restart {name}`; its log is {settings.log_dir / f'{name}.log'}"
