"""Consumer lag, measured from outside: the end of each partition against the offset that its group has committed.

A consumer that hangs or dies cannot report its own lag, and one that lost a partition would go on reporting its old one.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from infra.stack.health.standing import READS, Place, Read, Waiting, positions
from streams.log import topics
from streams.runtime.metrics import CONSUMER_LAG
from streams.runtime.settings import load_settings

EVERY_S = 10.0
#: besides those for which somebody waits, the groups beside the path of a decision
READERS: tuple[Read, ...] = (
    *READS,
    *(("archive", topic, False) for topic in (topics.FEATURES, topics.DECISIONS, topics.OUTCOMES)),
    *(("drift", topic, False) for topic in (topics.FEATURES, topics.DECISIONS)),
)


def show(found: Mapping[Place, Waiting], shown: Collection[Place]) -> set[Place]:
    """Set the gauge to what was found; places that were ``shown`` and are not found lose their value. Returns what is shown now."""
    for place in set(shown) - found.keys():
        CONSUMER_LAG.remove(*place)
    for place, waiting in found.items():
        CONSUMER_LAG.labels(*place).set(max(0, waiting.end - waiting.position))
    return set(found)


def follow_lag(home: str, stop: threading.Event) -> None:
    """Set ``tollgate_consumer_lag`` until stopped. While the broker is away there is no value: nobody knows the lag."""
    shown: set[Place] = set()
    while not stop.wait(EVERY_S):
        shown = show(positions(load_settings(home), READERS), shown)
