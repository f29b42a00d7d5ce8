"""What the scoring replicas really serve, from their metrics: the answer to a request only says what they should serve."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

from infra.stack.health.status import replicas
from streams.runtime.settings import Settings

#: a replica loads a bundle for at most 30 s, and begins up to 8 s after the first one
WITHIN_S = 45.0
LOOK_S = 0.3
HTTP_S = 2.0


class NotServed(Exception):
    """A replica serves another version than the one that was rolled out; the text names it."""

    exit_code = 1


@dataclass(frozen=True)
class Serving:
    """What one replica serves. ``served``, ``refused``: the newest sequence numbers of `rollouts`, 0 before the first."""

    version: str
    served: int
    refused: int


class Loading(NamedTuple):
    """Which running replicas do not serve a rollout's sequence yet, and which of them refused its bundle."""

    waiting: list[str]
    refused: list[str]


def loading(settings: Settings, sequence: int) -> Loading:
    """Ask every running replica once. Both are empty when all serve it, and where none runs."""
    found = {name: serving(settings, name) for name in running(settings)}
    waiting = [name for name, told in found.items() if told is None or told.served < sequence]
    refused = [
        name for name, told in found.items() if told is not None and told.served < sequence <= told.refused
    ]
    return Loading(waiting, refused)


def confirm(settings: Settings, sequence: int, within_s: float = WITHIN_S) -> dict[str, str]:
    """Wait until every running replica serves the rollout ``sequence``; returns the version by replica, none if none runs.

    Raises:
        NotServed: one refused the bundle, or did not serve it in time.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = {name: serving(settings, name) for name in running(settings)}
        waiting = [name for name, told in found.items() if told is None or told.served < sequence]
        for name, told in found.items():
            if told is not None and told.served < sequence <= told.refused:
                raise NotServed(
                    f"{name} refused the bundle and still serves {told.version}: see {settings.log_dir} and `tollgate models show`"
                )
        if not waiting:
            return {name: told.version for name, told in found.items() if told is not None}
        if time.monotonic() > deadline:
            raise NotServed(
                f"{', '.join(waiting)} did not serve it within {within_s:g} s: see `tollgate status`"
            )
        time.sleep(LOOK_S)


def running(settings: Settings) -> list[str]:
    """Names of the replicas whose process lives."""
    return [name for name, pid, _ in replicas(settings.run_dir) if psutil.pid_exists(pid)]


def serving(settings: Settings, name: str) -> Serving | None:
    """What a replica's metrics say; None if they cannot be read."""
    url = f"http://127.0.0.1:{settings.metrics_port(name)}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=HTTP_S) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None
    version, sequences = "none", {"served": 0, "refused": 0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if (
                sample.name == "tollgate_model_info"
                and sample.value == 1
                and sample.labels["arm"] == "champion"
            ):
                version = sample.labels["version"]
            elif sample.name == "tollgate_rollout_sequence":
                sequences[sample.labels["outcome"]] = int(sample.value)
    return Serving(version, sequences["served"], sequences["refused"])
