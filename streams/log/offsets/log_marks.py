"""Notices that a log is not the one that was read: its end was cut off, or the topic was made again, and its offsets come again.

A position is an offset, and an offset says nothing about what stands there. So a worker keeps a *mark* beside its positions: of each
partition the offset and append time of the last record that it applied, and the topic's id. When it gets the partition, and from time
to time, it looks whether that record still stands there. If not, the worker reads again from where the log may differ: what it applied
is known by identity. The partition's *era* is counted, for whoever knows its records by offset.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition

from features.store.keys import slot_tag
from features.store.redis_client import Command, RespClient
from streams.runtime.kafka.clients import new_admin
from streams.runtime.kafka.log_reader import LedgerUnreachable, log_reader, whole_log
from streams.runtime.metrics import LOGS_LOST

logger = logging.getLogger(__name__)

Place = tuple[str, int]
#: a hash: by "topic:partition", how often the log began again
ERAS_KEY = "tollgate:log:eras"
#: offsets before its position that a worker reads again where only the end of a log was cut off: what was not yet on disk
CUT_OFF_MOST = 100_000
READ_WITHIN_S = 20.0
#: between a source topic's name and its era
_ERA = "@"


class Mark(NamedTuple):
    """The last record applied of a partition; ``topic_id`` is empty where the broker gives none."""

    offset: int
    appended_ms: int
    topic_id: str


class Lost(NamedTuple):
    """A partition that holds other records than were applied; the worker goes on from ``start``."""

    start: int
    #: the whole topic was made again; otherwise its end was cut off
    made_again: bool


def mark_key(place: Place, group: str) -> str:
    """Key of a partition's mark; ``group``: of the worker's leases."""
    return f"{slot_tag(*place)}{group}:mark"


def _rewound_key(place: Place, group: str) -> str:
    return f"{slot_tag(*place)}{group}:rewound"


def source_name(topic: str, era: int) -> str:
    """The name under which records of a source are known by their offsets, in this era of its log."""
    return f"{topic}{_ERA}{era}" if era else topic


def topic_of(source: str) -> str:
    """The topic of a ``source_name``."""
    return source.partition(_ERA)[0]


def eras(client: RespClient, places: Sequence[Place]) -> dict[Place, int]:
    """How often each partition's log began again."""
    values = client.with_retry([("HGET", ERAS_KEY, _field(place)) for place in places]) if places else []
    return {place: int(value or 0) for place, value in zip(places, values, strict=True)}


class LogMarks:
    """The marks of one worker's partitions."""

    def __init__(self, bootstrap: str, client: RespClient, group: str) -> None:
        self._bootstrap = bootstrap
        self._client = client
        self._group = group
        self._ids: dict[str, str] = {}
        #: by partition, the newest mark that was committed or is being committed
        self._marks: dict[Place, Mark] = {}

    def begin(self, positions: Mapping[Place, int]) -> dict[Place, Lost]:
        """Begin a session; returns the partitions whose log is not the one that was read. ``positions``: next offset to apply of each.

        Raises:
            LedgerUnreachable: the broker does not answer. StoreUnavailable.
        """
        places = list(positions)
        self._ids = topic_ids(self._bootstrap, sorted({topic for topic, _ in places}))
        raw = (
            self._client.with_retry([("GET", mark_key(place, self._group)) for place in places])
            if places
            else []
        )
        self._marks = {place: _unpacked(value) for place, value in zip(places, raw, strict=True) if value}
        lost = self._differing({place: position for place, position in positions.items() if position})
        for place, found in lost.items():
            logger.error(
                "%s[%d] is not the log that was read up to %d: %s; reading again from %d",
                *place, positions[place], "the topic was made again" if found.made_again else "its end was cut off", found.start,
            )  # fmt: skip
            LOGS_LOST.labels(place[0]).inc()
            self._marks.pop(place, None)
        return lost

    def writes_of(self, lost: Iterable[Place], positions: Mapping[Place, int]) -> list[Command]:
        """Commands to write with the new positions of lost partitions; ``positions``: those before."""
        return [
            command
            for place in lost
            for command in (
                ("HINCRBY", ERAS_KEY, _field(place), 1),
                ("DEL", mark_key(place, self._group)),
                ("SET", _rewound_key(place, self._group), positions[place]),
            )
        ]

    def rewound(self, positions: Mapping[Place, int]) -> list[Place]:
        """The partitions that are still being read again: what the group committed of them was of the log that is lost."""
        places = list(positions)
        if not places:
            return []
        (values,) = self._client.with_retry(
            [("MGET", *(_rewound_key(place, self._group) for place in places))]
        )
        return [
            place for place, value in zip(places, values, strict=True) if int(value or 0) > positions[place]
        ]

    def writes(self, topic: str, records: Sequence[Any]) -> list[Command]:
        """Commands to write with a chunk of a topic's records, each partition's in offset order."""
        newest: dict[int, Any] = {record.partition: record for record in records}
        out: list[Command] = []
        for partition, record in newest.items():
            place = (topic, partition)
            mark = Mark(record.offset, record.timestamp, self._ids.get(topic, ""))
            self._marks[place] = mark
            out.append(("SET", mark_key(place, self._group), _packed(mark)))
        return out

    def changed(self) -> list[Place]:
        """The partitions of this session whose log is not the one that was read, as of now.

        Raises:
            LedgerUnreachable: the broker does not answer.
        """
        return list(self._differing({place: mark.offset + 1 for place, mark in list(self._marks.items())}))

    def _differing(self, positions: Mapping[Place, int]) -> dict[Place, Lost]:
        if not positions:
            return {}
        topics = sorted({topic for topic, _ in positions})
        first, end = whole_log(self._bootstrap, topics)
        ids = topic_ids(self._bootstrap, topics)
        out: dict[Place, Lost] = {}
        look: dict[Place, Mark] = {}
        for (topic, partition), position in positions.items():
            begins, ends = first[topic].get(partition, 0), end[topic].get(partition, 0)
            mark = self._marks.get((topic, partition))
            made_again = bool(mark and mark.topic_id and ids.get(topic) and mark.topic_id != ids[topic])
            if made_again or ends < position:
                cut_off = not made_again and ends > 0
                start = max(begins, ends - CUT_OFF_MOST) if cut_off else begins
                out[topic, partition] = Lost(start, made_again or not cut_off)
            elif mark is not None and mark.offset >= begins:
                look[topic, partition] = mark
        for place, mark in look.items():
            if not _stands(self._bootstrap, place, mark):
                begins = first[place[0]].get(place[1], 0)
                out[place] = Lost(max(begins, positions[place] - CUT_OFF_MOST), False)
        return out


def topic_ids(bootstrap: str, topics: Sequence[str]) -> dict[str, str]:
    """The ids of topics; a topic is left out where the broker gives none (old ones, and the one in memory)."""
    out: dict[str, str] = {}
    # without a name of its own it would be gone before its answers are there
    admin = new_admin(bootstrap)
    asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=READ_WITHIN_S)
    for topic, future in asked.items():
        try:
            found = future.result(timeout=READ_WITHIN_S + 1).topic_id
        except (KafkaException, TimeoutError) as error:
            logger.info("the broker gives no id of topic %s: %s", topic, error)
            continue
        if found is not None and (found.get_most_significant_bits() or found.get_least_significant_bits()):
            out[topic] = f"{found.get_most_significant_bits():x}.{found.get_least_significant_bits():x}"
    return out


def _stands(bootstrap: str, place: Place, mark: Mark) -> bool:
    """Whether the marked record still stands at its offset.

    Raises:
        LedgerUnreachable: the broker does not answer.
    """
    reader = log_reader(bootstrap, **{"fetch.min.bytes": 1, "enable.partition.eof": True})
    until = time.monotonic() + READ_WITHIN_S
    try:
        reader.assign([TopicPartition(*place, mark.offset)])
        while time.monotonic() < until:
            record = reader.poll(0.2)
            if record is None:
                continue
            if record.error() is not None:
                if record.error().code() == KafkaError._PARTITION_EOF:
                    return False
                raise LedgerUnreachable(f"{place[0]}[{place[1]}] at {mark.offset}: {record.error().str()}")
            return (record.offset(), record.timestamp()[1]) == (mark.offset, mark.appended_ms)
    finally:
        reader.close()
    raise LedgerUnreachable(
        f"{place[0]}[{place[1]}] was not read at {mark.offset} within {READ_WITHIN_S:g} s"
    )


def _field(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def _packed(mark: Mark) -> str:
    return f"{mark.offset}:{mark.appended_ms}:{mark.topic_id}"


def _unpacked(raw: bytes) -> Mark:
    offset, appended_ms, topic_id = raw.decode().split(":", 2)
    return Mark(int(offset), int(appended_ms), topic_id)
