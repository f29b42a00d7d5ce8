"""Processes in a restart loop: supervisord's log says when each was started."""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import UTC, datetime

from infra.stack.health.problem import Problem, runbook_of
from infra.stack.supervisor import log_file, out_tail
from streams.runtime.settings import Settings

#: this many starts within so many seconds are a circle, not a restart
STARTS, WITHIN_S = 3, 120.0
#: one that has run for so long has left the circle
RECOVERED_S = 30.0
_SPAWNED = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ INFO spawned: '([^']+)' with pid", re.M)


def circles(
    settings: Settings, needed: Container[str], running: Container[str], now_s: float
) -> list[Problem]:
    """One problem for each process that restarts in circles; it stops decisions if it is ``needed``.

    ``running``: names of the running processes; ``now_s``: seconds since 1970.
    """
    path = log_file(settings)
    text = path.read_text(errors="replace") if path.exists() else ""
    recent: dict[str, list[float]] = {}
    for moment, name in _SPAWNED.findall(text):
        # supervisord writes local time
        age_s = now_s - datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").timestamp()
        if age_s <= WITHIN_S:
            recent.setdefault(name, []).append(age_s)
    return [
        Problem(
            _text(settings, name, len(ages_s)),
            name in needed,
            runbook_of(name),
            name,
            datetime.fromtimestamp(now_s - max(ages_s), UTC),
        )
        for name, ages_s in sorted(recent.items())
        if len(ages_s) >= STARTS and not (name in running and min(ages_s) > RECOVERED_S)
    ]


def _text(settings: Settings, name: str, count: int) -> str:
    log = settings.log_dir / f"{name}.log"
    return (
        f"{name} was started {count} times in the last {WITHIN_S:.0f} s and ends each time; its log, {log}, ends with: "
        f"{out_tail(log)[-300:]}"
    )
