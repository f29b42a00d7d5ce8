"""Sets a record aside: it is not handled, it has a dead letter and is counted, and the worker goes on behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Message

from features.transaction import from_ms
from streams.contracts.invalid_event import InvalidEvent
from streams.runtime.blame import blameless
from streams.runtime.dead_letters import DeadLetters, consumed
from streams.runtime.metrics import SET_ASIDE
from streams.runtime.settings import Settings
from streams.runtime.skips import Skip, Skips
from streams.runtime.suspects import GUILTY_AFTER, Suspects

#: sends the dead letter of a record; returns when the broker has acknowledged it
Keep = Callable[[Any, InvalidEvent], None]


class SetAside:
    """The records that a process of one group does not handle: those that a person skips, and those that end it again and again."""

    def __init__(
        self, name: str, suspects: Suspects, skips: Skips, keep: Keep, now_s: Callable[[], float] = time.time
    ) -> None:
        """``name``: of the process."""
        self.suspects, self.skips = suspects, skips
        self._name, self._keep, self._now_s = name, keep, now_s

    def keep(self, record: Any, error: InvalidEvent) -> None:
        """Set a record aside. Raises: DeliveryError, the broker has not got its dead letter."""
        self._keep(record, error)
        SET_ASIDE.labels(record.topic, error.reason).inc()

    def takes(self, record: Any) -> bool:
        """Whether a record is set aside; it then has its dead letter."""
        place = (record.topic, record.partition)
        if self.suspects.guilty(place) == record.offset:
            at = from_ms(int(self._now_s() * 1000)).isoformat()
            why = f"it has ended its worker {GUILTY_AFTER} times: see the worker's log"
            self.skips.add(Skip(*place, record.offset, why, self._name, at, "ended_worker"))
            self.suspects.acquit(place)
        skip = self.skips.of(*place).get(record.offset)
        if skip is None:
            return False
        self.keep(record, InvalidEvent(skip.reason, "", f"set aside by {skip.by}: {skip.why}"))
        return True


def set_aside_of(settings: Settings, name: str, group: str, letters: DeadLetters) -> SetAside:
    """What the process ``name`` of a group sets aside, by the files of its stack."""
    suspects = Suspects(settings.run_dir / "handling", group)
    return SetAside(name, suspects, Skips(settings.run_dir), letters.send)


class OneByOne:
    """For a process that handles the records of a topic one by one: none of them ends it more than three times."""

    def __init__(self, settings: Settings, name: str, group: str) -> None:
        self._letters = DeadLetters(settings.kafka, name)
        self._aside = set_aside_of(settings, name, group, self._letters)
        self._met: set[tuple[str, int]] = set()

    def refuse(self, message: Message, error: InvalidEvent) -> None:
        """Keep a record that is not what its topic holds as a dead letter. Raises: DeliveryError."""
        self._letters.send(consumed(message), error)

    def takes(self, message: Message) -> bool:
        """Whether a record is set aside. Raises: DeliveryError."""
        place = (message.topic(), message.partition())
        if place not in self._met:
            self._met.add(place)
            self._aside.suspects.took_over(place)
        return self._aside.takes(consumed(message))

    @contextmanager
    def handling(self, message: Message) -> Iterator[None]:
        """A record is handled inside; what ends the process there is remembered, unless the record is not to blame."""
        place, offset = (message.topic(), message.partition()), message.offset()
        suspects = self._aside.suspects
        suspects.begin(place, offset, offset + 1)
        try:
            yield
        except Exception as error:
            # a record that is refused ends nothing
            if isinstance(error, InvalidEvent) or blameless(error):
                suspects.forgive(place)
            raise
        suspects.finish(place, offset + 1)
