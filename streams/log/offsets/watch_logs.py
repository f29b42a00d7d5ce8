"""Looks from time to time whether the logs are those that were read. If not, the process ends and begins again where they differ.

Usually a reader notices at once, because it asks for an offset that is not there any more. It does not if the log has grown past it.
"""

from __future__ import annotations

import logging
import os
import time

from streams.log.offsets.log_marks import LogMarks
from streams.runtime.chunk.consumer import EXIT_HANDLER_FAILED
from streams.runtime.kafka.log_reader import LedgerUnreachable

logger = logging.getLogger(__name__)

EVERY_S = 30.0


def watch_logs(marks: LogMarks) -> None:
    """Run in a thread of its own; does not return."""
    while True:
        time.sleep(EVERY_S)
        try:
            changed = marks.changed()
        except LedgerUnreachable as error:
            logger.warning("it cannot be told whether the logs are those that were read: %s", error)
            continue
        if changed:
            where = ", ".join(f"{topic}[{partition}]" for topic, partition in changed)
            logger.error("%s hold other records than were read: starting again from where they differ", where)
            os._exit(EXIT_HANDLER_FAILED)
