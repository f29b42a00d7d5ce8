"""What is wrong with a running stack, the likely cause first: the one list that ``tollgate status`` and ``tollgate doctor --live`` show."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from infra.stack.health.asking import STARTING_S, NotListening, unanswered, watched
from infra.stack.health.circles import circles
from infra.stack.health.gone import gone
from infra.stack.health.problem import Problem, runbook_of
from infra.stack.health.problems import problems
from streams.runtime.settings import Settings

#: without one of these no transaction is decided; Kafka and Redis are not among the processes if they run elsewhere
NEEDED = ("kafka", "redis", "processor-0", "labels-0", "scoring", "rollout-0")
#: by runbook: what comes earlier causes what comes later, so that it is mended first
ORDER = (
    "DiskFilling",
    "KafkaDown",
    "RedisDown",
    "StoreFull",
    "StateLost",
    "ProcessorDown",
    "StreamScoringDown",
    "ModelFailing",
    "HttpEdgeDown",
    "ProcessDown",
    "BundleRefused",
    "DecisionsNotScored",
)


def causes(
    settings: Settings, listed: Sequence[dict[str, Any]], supervised: Mapping[str, Mapping[str, Any]]
) -> list[Problem]:
    """All problems, causes before consequences. Takes up to 10 s if much is silent; changes the state of silent processes in ``listed``.

    ``listed``: the processes of ``tollgate status``; ``supervised``: supervisord's information by name.
    """
    running = {process["name"] for process in listed if process["state"] == "running"}
    again = circles(settings, NEEDED, running, time.time()) if listed else []
    known = {problem.process for problem in again}
    of_parts = problems(settings, running)
    for process in listed:
        # of Kafka and Redis that is asked there, not below
        if any(problem.silent and problem.process == process["name"] for problem in of_parts):
            process["state"] = "not answering"
    found = [
        *(problem for problem in gone(settings, listed, supervised, NEEDED) if problem.process not in known),
        *_silent(settings, listed),
        *of_parts,
        *again,
    ]
    return sorted(found, key=lambda problem: rank(problem.runbook))


def rank(runbook: str) -> int:
    """The place of a runbook's fault among causes; those without one come last."""
    return ORDER.index(runbook) if runbook in ORDER else len(ORDER)


def _silent(settings: Settings, listed: Sequence[dict[str, Any]]) -> list[Problem]:
    """Problems of processes that run but do not answer; changes their state in ``listed``."""
    running = {process["name"]: process for process in listed if process["state"] == "running"}
    # Kafka and Redis are asked more than that by ``problems``
    asked = [each for each in watched(settings) if each.name in running.keys() - {"kafka", "redis"}]
    found = []
    for name, error in unanswered(asked).items():
        stops = name in NEEDED or name.startswith("scoring-stream-")
        try:
            age_s = time.time() - psutil.Process(running[name]["pid"]).create_time()
        except psutil.NoSuchProcess:
            # one that stood still is ended by its supervisor while it is asked
            running[name]["state"] = "restarting"
            text = f"{name} did not answer ({error}) and has just ended: it is started again by itself"
            found.append(Problem(text, stops, runbook_of(name), name))
            continue
        if isinstance(error, NotListening) and age_s < STARTING_S:
            running[name]["state"] = "starting"
            continue
        running[name]["state"] = "not answering"
        text = f"{name} runs but does not answer ({error}): `tollgate restart {name}`"
        found.append(Problem(text, stops, runbook_of(name), name))
    return sorted(found, key=lambda problem: not problem.stops)
