"""A log and a store in memory, on which the processor's own stages run in chunks of any size, with crashes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import hiredis
from faust.types import TP

from features.store.keys import GROUP
from features.store.partition_lease import Leases
from features.store.profiles.cache import ProfileCache
from features.store.redis_client import Command, Packed
from streams.log.offsets.log_marks import LogMarks
from streams.processor.cards import CardStage
from streams.processor.commit import PipelinedCommitter, SynchronousCommitter
from streams.processor.entities import EntityStage
from streams.processor.identities.known_transactions import KnownTransactions
from streams.processor.intake import Stretch
from streams.processor.takeover import Takeover
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.kafka.log_reader import LogRow
from streams.runtime.settings import Settings
from tests.support.edge_keys import KEYS

PARTITIONS = 2
#: of the profiles that a worker keeps, and the room beside them: a large arena takes 2 MB of memory when it is first touched,
#: and tests make hundreds of workers
BUDGET, ROOM = 1 << 21, 512


#: after every event of these tests, unless they move a log's clock
APPENDED_MS = 1_790_000_000_000


class Crash(Exception):
    """The process ends after its records were acknowledged and before its state was written."""


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: Any
    value: bytes
    headers: list[tuple[str, bytes]]


class MemoryLog:
    """Topics by partition; stands in for a producer too."""

    def __init__(self) -> None:
        self.topics: dict[tuple[str, int], list[Record]] = {}
        #: the broker's clock
        self.now_ms = APPENDED_MS

    def produce(
        self,
        topic: str,
        key: Any = None,
        value: bytes = b"",
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        log = self.topics.setdefault((topic, partition), [])
        log.append(Record(topic, partition, len(log), self.now_ms, key, value, list(headers)))

    def flush(self, timeout_s: float) -> int:
        assert timeout_s > 0
        return 0

    def records(self, topic: str) -> list[Record]:
        return [
            record for partition in range(PARTITIONS) for record in self.topics.get((topic, partition), [])
        ]


def stretch_of(records: list[Any], partition: int) -> Stretch:
    return Stretch(
        partition, [r.offset for r in records], [r.timestamp for r in records], [r.value for r in records],
    )  # fmt: skip


def rows_of(records: list[Any], partition: int) -> list[LogRow]:
    return [LogRow(partition, r.offset, r.timestamp, r.value, None) for r in records]


def plain(commands: Sequence[Command]) -> list[tuple[Any, ...]]:
    """Commands as tuples, those that a hot path packed taken apart again."""
    out: list[tuple[Any, ...]] = []
    for command in commands:
        if not isinstance(command, Packed):
            out.append(command)
            continue
        reader = hiredis.Reader()
        reader.feed(command.data)
        out += [tuple(reader.gets()) for _ in range(command.commands)]
        assert reader.gets() is False, "more commands than it says"
    return out


def sorted_set(name: str, scores: dict[bytes, float], arguments: Sequence[Any]) -> Any:
    """The few commands on sorted sets that workers send, on one of them."""
    if name == "ZADD":
        scores.update(
            (member.encode(), float(score))
            for score, member in zip(arguments[::2], arguments[1::2], strict=True)
        )
    elif name == "ZREM":
        return sum(scores.pop(member.encode(), None) is not None for member in arguments)
    elif name == "ZREMRANGEBYSCORE":
        low, high = arguments
        assert low == "-inf" and high.startswith("("), arguments
        for member in [member for member, score in scores.items() if score < float(high[1:])]:
            del scores[member]
    elif name == "ZRANGE":
        low, high, by = arguments
        assert (high, by) == ("+inf", "BYSCORE"), arguments
        return sorted(
            (member for member, score in scores.items() if score >= float(low)), key=lambda m: (scores[m], m)
        )
    return b"OK"


class MemoryRedis:
    """The commands that stages and leases send; ``crash_next`` makes the next EXEC never happen."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.hashes: dict[Any, dict[Any, bytes]] = {}
        self.sets: dict[Any, set[bytes]] = {}
        self.scores: dict[Any, dict[bytes, float]] = {}
        self.crash_next = False

    def copied(self) -> Any:
        """What it holds now, for ``restore``."""
        return copy.deepcopy((self.values, self.hashes, self.sets, self.scores))

    def restore(self, held: Any) -> None:
        """It forgets what it was told since: started again from a file that lacks the last second."""
        self.values, self.hashes, self.sets, self.scores = copy.deepcopy(held)

    def call(self, commands: Sequence[Command]) -> list[Any]:
        if ("EXEC",) in commands and self.crash_next:
            self.crash_next = False
            raise Crash
        replies: list[Any] = []
        began = 0
        for command in plain(commands):
            if command[0] == "MULTI":
                began = len(replies) + 1
            replies.append(
                replies[began:]
                if command[0] == "EXEC"
                else self._one(tuple(map(_text, command[:2])) + command[2:])
            )
        return replies

    def with_retry(self, commands: Sequence[Command]) -> list[Any]:
        return self.call(commands)

    def _one(self, command: Command) -> Any:
        name, key = command[0], command[1] if len(command) > 1 else None
        if name.startswith("Z"):
            return sorted_set(name, self.scores.setdefault(key, {}), command[2:])
        if name == "INCR":
            self.values[key] = str(int(self.values.get(key, b"0")) + 1).encode()
            return int(self.values[key])
        if name == "SETRANGE":
            held, start = self.values.get(key, b""), int(command[2])
            end = start + len(command[3])
            self.values[key] = held[:start].ljust(start, b"\0") + command[3] + held[end:]
        if name == "SET" and "NX" in command[3:] and key in self.values:
            return None
        if name == "SET":
            self.values[key] = command[2] if isinstance(command[2], bytes) else str(command[2]).encode()
        if name == "GET":
            return self.values.get(key)
        if name == "MGET":
            return [self.values.get(_text(wanted)) for wanted in command[1:]]
        if name == "MSET":
            self.values.update(zip(map(_text, command[1::2]), command[2::2], strict=True))
        if name == "GETRANGE":
            return self.values.get(key, b"")[int(command[2]) : int(command[3]) + 1]
        if name == "HSET":
            fields = [v if isinstance(v, bytes) else str(v).encode() for v in command[2:]]
            self.hashes.setdefault(key, {}).update(zip(fields[::2], fields[1::2], strict=True))
        if name == "HGET":
            return self.hashes.get(key, {}).get(command[2])
        if name == "SADD":
            self.sets.setdefault(key, set()).add(str(command[2]).encode())
        if name == "SMEMBERS":
            return sorted(self.sets.get(key, ()))
        if name in ("DEL", "UNLINK"):
            names = [_text(gone) for gone in command[1:]]
            return sum(
                bool([held.pop(gone) for held in (self.values, self.hashes) if gone in held])
                for gone in names
            )
        if name == "HGETALL":
            return [part for pair in self.hashes.get(key, {}).items() for part in pair]
        return b"OK"


def _text(name: Any) -> Any:
    """Names of commands and keys as text: hot paths that pack their commands give bytes."""
    return name.decode() if isinstance(name, bytes) else name


def unbounded(_topic: str, _partition: int) -> int:
    """No source ends: for tests whose offsets are their own."""
    return 2**63


def _append_time() -> float:
    return APPENDED_MS / 1000


class Worker:
    """One processor: takes its partitions, handles chunks, starts again from the store after a crash."""

    def __init__(
        self, log: MemoryLog, redis: MemoryRedis, budget_bytes: int = BUDGET, *,
        behind: bool = False, known: Callable[[Any], KnownTransactions] | None = None,
    ) -> None:  # fmt: skip
        """``budget_bytes``: of the profiles that it keeps between chunks. ``behind``: chunks end in a thread, as in a real one.
        ``known``: what it remembers of transactions, on a store.
        """
        self._known = known or partial(KnownTransactions, partitions=PARTITIONS)
        self._ends_behind = behind
        self._log = log
        self._redis = redis
        self._budget_bytes = budget_bytes
        self._start()

    def _start(self) -> None:
        client: Any = self._redis
        producer: Any = self._log
        leases = Leases(client, GROUP)
        cache = ProfileCache(PARTITIONS, self._budget_bytes, _append_time, ROOM)
        settings = Settings(home="/nowhere", partitions=PARTITIONS)
        endings = (
            PipelinedCommitter(producer, leases)
            if self._ends_behind
            else SynchronousCommitter(producer, leases)
        )
        self.settle = endings.settled
        marks = LogMarks("", client, GROUP)
        self._cards = CardStage(
            settings, client, producer, leases, cache, endings, KEYS, marks, self._known(client)
        )
        self._entities = EntityStage(client, producer, leases, cache, endings, unbounded, marks)
        everything = [(topic, p) for topic in ("transactions", "entities") for p in range(PARTITIONS)]
        takeover = Takeover(settings, client, leases, self._cards, self._entities, endings)
        produced = takeover.shut_out(everything)
        leases.lease(everything)
        self._entities.load_applied(list(range(PARTITIONS)))
        cache.begin_session(range(PARTITIONS))
        self._cards.known.load(
            {p: at for (topic, p), at in leases.positions(everything).items() if topic == "transactions"}
        )
        takeover.catch_up(produced)
        self._next = leases.positions(everything)

    def start_again(self) -> None:
        """Go on from what the store says, as a worker does that finds it behind."""
        self._start()

    def step(self, topic: str, most: int, *, crash: bool = False) -> None:
        """Handle one chunk of up to ``most`` records of each partition."""
        records: list[Record] = []
        positions: dict[TP, int] = {}
        for partition in range(PARTITIONS):
            start = self._next[(topic, partition)]
            fetched = self._log.topics.get((topic, partition), [])[start : start + most]
            if fetched:
                records += fetched
                positions[TP(topic, partition)] = start + len(fetched)
        if not records:
            return
        stage = self._cards.handle if topic == "transactions" else self._entities.handle
        self._redis.crash_next = crash
        try:
            stage(Chunk(topic, records, positions))
        except Crash:
            self._start()
            return
        self._next.update({(tp.topic, tp.partition): offset for tp, offset in positions.items()})

    def behind(self) -> bool:
        """Whether there is something left to handle."""
        return any(len(self._log.topics.get(place, [])) > done for place, done in self._next.items())
