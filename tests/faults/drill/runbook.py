"""What the on-call engineer does with a page: types its commands one after the other, while the stack is broken, and reads what they say.

Commands that look are all run, in the order of the page. Of those that change something, restarts up to the one that mends are run, and what
mends. Some belong to another situation than the drill's: ``ELSEWHERE`` names the test that runs them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from infra.oncall.query import PrometheusUnavailable, values
from infra.stack.ports import port_of
from infra.stack.supervisor import Supervisor
from streams.runtime.settings import Settings
from tests.faults.drill.drills import REPAIR, Drill
from tests.support.runbooks import PAGES, is_query, looks, typed
from tests.support.running import CLI, pid_of, run_cli

COMMAND_WITHIN_S = 240.0
#: what a page promises that a command shows while the fault is there, as patterns; (page, command as it stands there)
PROMISED: Mapping[tuple[str, str], str] = {
    ("KafkaDown", "tollgate status"): r"(?s)^starting.*problem: .*kafka.*\nkafka +(stopped|restarting|running|not answering) ",
    ("RedisDown", "tollgate status"): r"(?s)^starting.*problem: .*[Rr]edis.*\nredis +(stopped|restarting|running|not answering) ",
    # it may have been started again by now: then its restarts have grown
    ("ProcessorDown", "tollgate status"): r"problem: .*processor-0|\nprocessor-0 +[a-z ]+ +(\d+|-) +[1-9]",
    ("StreamScoringDown", "tollgate status"): r"\nscoring-stream-0 +\w",
    ("HttpEdgeDown", "tollgate status"): r"\nscoring-http-0 +\w",
    ("ProcessDown", "tollgate status"): r"problem: <process> ",
    ("ProcessStoodStill", "tollgate status"): r"\n<process> +(running|starting|not answering) ",
    ("ProcessStoodStill", "tail <home>/run/stood-still.jsonl"): r'"process": "<process>".*"stood_s": \d+',
    ("DeadLettersRising", "tollgate dead-letters list --reason REASON"): r"(?m)^transactions/",
    ("ForgeryRefused", 'grep "forged headers" <home>/logs/processor-*.log'): r"tollgate-decided",
    ("ForgeryRefused", "tollgate audit verify"): r"\d",
    ("DecisionsNotScored", "tollgate models list"): r"\blive\b",
    ("DecisionsNotScored", "tollgate decisions tail --json"): r'"degraded_by"',
    ("StoreFull", "tollgate status"): r"problem: .*(MB|GB|memory)",
    ("ReconciliationBroken", "tollgate reconcile"): r"unknown +[1-9]",
    ("ReconciliationBroken", REPAIR): r"[1-9]\d* decisions struck",
    ("ModelAwaitsApproval", "tollgate models evidence"): r"^fraud \S+, evidence \w+",
    ("BundleRefused", "tollgate models list"): r"\blive\b",
    ("BundleRefused", 'grep "refused" <home>/logs/rollout-0.log <home>/logs/scoring.log'): r"not the file that was signed",
    ("ConsumerLagGrowing", "tollgate status"): r"\narchive-0 +\w",
}  # fmt: skip
#: what a restart that mends says
RUNS_AGAIN = r"runs again"
#: what a page promises that a command shows when it is over
AFTERWARDS: Mapping[str, Mapping[str, str]] = {
    "KafkaDown": {"tollgate status": r"^(ready|degraded)", "tollgate reconcile": r"balanced +yes"},
    "RedisDown": {"tollgate status": r"^(ready|degraded)"},
    "ProcessorDown": {
        "tollgate status": r"\nprocessor-0 +running",
        "tollgate reconcile": r"in flight +0",
    },
    "StreamScoringDown": {"tollgate reconcile": r"balanced +yes"},
    "HttpEdgeDown": {"tollgate status": r"^(ready|degraded)"},
    "ProcessDown": {"tollgate status": r"\n<process> +(running|starting)"},
}
#: by first words: commands of the drilled pages that belong to another situation, and the test that runs them there
ELSEWHERE: Mapping[str, str] = {
    "tollgate up": "tests/integration/test_stack_command.py",
    "tollgate down": "tests/integration/test_stack_command.py",
    "tollgate models rollback": "tests/e2e/test_model_life.py",
    "tollgate models approve": "tests/e2e/test_model_life.py",
    "tollgate features rebuild": "tests/faults/test_rebuild.py",
    "tollgate features prepare": "tests/integration/test_state_takeover.py",
    "tollgate keys rotate": "tests/unit/streams/test_edge_keys.py",
    "tollgate keys retire": "tests/unit/streams/test_edge_keys.py",
    "tollgate dead-letters replay": "tests/integration/test_ledger_on_kafka.py",
}


class Ran(NamedTuple):
    """One command of a page. ``wrong``: what is not as the page has it; "" if all is."""

    command: str
    wrong: str


def plan(drill: Drill) -> list[str]:
    """The commands of the alert's page that the drill runs, in the page's order."""
    found = typed(PAGES[drill.alert])
    if drill.mend and drill.mend not in found:
        raise LookupError(f"{drill.alert}: its page does not say `{drill.mend}`")
    last = found.index(drill.mend) if drill.mend else -1
    return [
        command
        for place, command in enumerate(found)
        if (looks(command) and not command.startswith(tuple(ELSEWHERE)))
        or (place <= last and (place == last or command.startswith("tollgate restart ")))
    ]  # fmt: skip


def follow(settings: Settings, drill: Drill) -> list[Ran]:
    """Run the page's commands on the broken stack; afterwards it is mended, where the page mends it."""
    return [
        _tried(
            settings,
            drill,
            command,
            PROMISED.get((drill.alert, command), RUNS_AGAIN if _restarts(drill, command) else ""),
        )
        for command in plan(drill)
    ]


def _restarts(drill: Drill, command: str) -> bool:
    return command == drill.mend and command.startswith("tollgate restart ")


def over(settings: Settings, drill: Drill) -> list[Ran]:
    """What the page promises of the end, looked at until it is so."""
    found = []
    for command, shows in AFTERWARDS.get(drill.alert, {}).items():
        ran = _tried(settings, drill, command, shows)
        for _ in range(20):
            if not ran.wrong:
                break
            ran = _tried(settings, drill, command, shows)
        found.append(ran._replace(command=f"{command} (over)"))
    return found


def _tried(settings: Settings, drill: Drill, command: str, shows: str) -> Ran:
    text = filled(settings, drill, command)
    shows = shows.replace("<process>", drill.victim)
    if is_query(command):
        return Ran(command, _asked(settings, command))
    try:
        done = _run(settings, text)
    except subprocess.TimeoutExpired:
        return Ran(command, f"did not end within {COMMAND_WITHIN_S:.0f} s")
    said = done.stdout + done.stderr
    # a check that fails, or a search that finds nothing, ends with 1; a part that is away, with 3. A log may show a traceback
    crashed = text.startswith("tollgate ") and "Traceback" in said
    if done.returncode not in (0, 1, 3) or crashed:
        return Ran(command, f"`{text}` ended with {done.returncode}: {said[-300:].strip()}")
    if not re.search(shows, said):
        return Ran(command, f"`{text}` shows nothing like {shows!r}: {said[-300:].strip()}")
    return Ran(command, "")


def _asked(settings: Settings, query: str) -> str:
    """What is wrong with a query: it is refused, or has no value."""
    try:
        return "" if values(settings.prometheus, query) else "it has no value"
    except PrometheusUnavailable as error:
        return str(error)


def _run(settings: Settings, text: str) -> subprocess.CompletedProcess[str]:
    # as at a shell that has activated the environment, with the stack's home
    line = f"{text} --home {settings.home}" if text.startswith("tollgate ") else text
    path = f"{Path(CLI[0]).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False, env={**os.environ, "PATH": path}
    )  # fmt: skip


def filled(settings: Settings, drill: Drill, command: str) -> str:
    """The command with what this stack has in place of placeholders."""
    values: dict[str, Callable[[], str]] = {
        "<home>": lambda: settings.home,
        "<process>": lambda: drill.victim,
        "NAME": lambda: drill.victim,
        "PORT": lambda: str(port_of(settings.redis)),
        "PID": lambda: str(pid_of(settings, drill.victim) or Supervisor(settings).pid()),
        "REASON": lambda: _reason(settings),
        "VERSION": lambda: _live(settings),
        "TEXT": lambda: "drill",
    }
    for name, value in values.items():
        place = re.escape(name) if name.startswith("<") else rf"(?<![\w-]){name}\b"
        if re.search(place, command):
            command = re.sub(place, lambda _, value=value: value(), command)
    return command


def _reason(settings: Settings) -> str:
    done = run_cli(settings, "dead-letters", "list", "--json")
    letters = json.loads(done.stdout)
    return str(letters[-1]["reason"]) if letters else "poison"


def _live(settings: Settings) -> str:
    found = json.loads(run_cli(settings, "models", "list", "--json").stdout)
    return str(next(row["version"] for row in found if row["state"] == "live"))
