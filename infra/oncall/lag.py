"""Consumer lag, measured from outside: the end of each partition against the offset that its group has committed.

A consumer that hangs or dies cannot report its own lag, and one that lost a partition would go on reporting its old one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping

from infra.stack.health.standing import READS, Place, Read, Waiting, positions
from streams.log import topics
from streams.runtime.metrics import CONSUMER_LAG, LOG_END, LOG_QUIET
from streams.runtime.settings import load_settings

EVERY_S = 10.0
#: besides those for which somebody waits, the groups beside the path of a decision
READERS: tuple[Read, ...] = (
    *READS,
    *(("archive", topic, False) for topic in (topics.FEATURES, topics.DECISIONS, topics.OUTCOMES)),
    *(("drift", topic, False) for topic in (topics.FEATURES, topics.DECISIONS)),
)


class Quiet:
    """Silences of one topic: how long the present one is, and how long the last one took that ended.

    Only what is seen counts: while the broker is away nothing is known, and a silence goes on.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._end = -1
        self._since_s = 0.0

    def heard(self, end: int, now_s: float) -> None:
        """``end``: of all partitions together; ``now_s``: of a clock that only goes forward."""
        if end != self._end:
            if self._end >= 0:
                LOG_QUIET.labels(self._topic, "last").set(now_s - self._since_s)
            self._end, self._since_s = end, now_s
        LOG_QUIET.labels(self._topic, "now").set(now_s - self._since_s)


def show_ends(
    found: Mapping[Place, Waiting], shown: Collection[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Set the gauge to the partitions' ends; partitions that were ``shown`` and are not found lose their value. Returns the ends."""
    ends = {(topic, partition): waiting.end for (_, topic, partition), waiting in found.items()}
    for place in set(shown) - ends.keys():
        LOG_END.remove(*place)
    for place, end in ends.items():
        LOG_END.labels(*place).set(end)
    return ends


def show(found: Mapping[Place, Waiting], shown: Collection[Place]) -> set[Place]:
    """Set the gauge to what was found; places that were ``shown`` and are not found lose their value. Returns what is shown now."""
    for place in set(shown) - found.keys():
        CONSUMER_LAG.remove(*place)
    for place, waiting in found.items():
        CONSUMER_LAG.labels(*place).set(max(0, waiting.end - waiting.position))
    return set(found)


def follow_lag(home: str, stop: threading.Event) -> None:
    """Set ``tollgate_consumer_lag``, and the ends that it is measured against, until stopped. While the broker is away there is no value:
    nobody knows them.
    """
    shown: set[Place] = set()
    ends: dict[tuple[str, int], int] = {}
    labels = Quiet(topics.LABELS.name)
    while not stop.wait(EVERY_S):
        settings = load_settings(home)
        found = positions(settings, READERS)
        shown, ends = show(found, shown), show_ends(found, ends)
        of_labels = [end for (topic, _), end in ends.items() if topic == topics.LABELS.name]
        # a part of the partitions would look like a log that grew
        if len(of_labels) == (topics.LABELS.partitions or settings.partitions):
            labels.heard(sum(of_labels), time.monotonic())
