"""A problem of a running stack, as ``tollgate status`` and ``tollgate doctor --live`` say it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Problem:
    """What is wrong, with the command that mends it where there is one.

    ``stops``: no transaction is decided, or those of some partitions are not, until the problem is solved. ``runbook``: the name of
    its page, which is that of its alert. ``process``: whom it is about, as ``tollgate status`` names it; "" if no single one.
    ``since``: None where the check that found it cannot know. ``silent``: the process runs and does not answer.
    """

    text: str
    stops: bool
    runbook: str = "ProcessDown"
    process: str = ""
    since: datetime | None = None
    silent: bool = False


def runbook_of(process: str) -> str:
    """The page for a process that is down or does not answer."""
    pages = {
        "kafka": "KafkaDown",
        "redis": "RedisDown",
        "processor": "ProcessorDown",
        "scoring": "StreamScoringDown",
        "scoring-stream": "StreamScoringDown",
        "scoring-http": "HttpEdgeDown",
        "http": "HttpEdgeDown",
    }
    return pages.get(process.rstrip("0123456789").rstrip("-"), "ProcessDown")
