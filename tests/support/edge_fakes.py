"""A store and a broker for the HTTP edge, in memory, which can be told to be away or to keep silent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import hiredis

from features.store.redis_client import Command, StoreUnavailable
from models.scoring.scorer import Scorer
from services.scoring.edge.publishing.publisher import Done, Headers, QueueFull
from services.scoring.edge.publishing.record_sets import SentSet
from services.scoring.model.serving import Serving
from streams.contracts.rollout import RolloutRecord
from tests.support.parity_world import plain


class FakeStore:
    """The few commands of Redis that the edge sends, without expiry."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.away = self.full = False
        self.reads = self.looks = 0

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        assert timeout_s > 0
        return self._run(commands)

    def post(self, commands: Sequence[Command]) -> None:
        self._run(commands)

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        if self.away:
            raise StoreUnavailable("switched off")
        return [self._one(command) for command in plain(commands)]

    def _one(self, command: tuple[Any, ...]) -> Any:
        name, *arguments = command
        if name == b"MGET":
            # of profiles: such commands are packed
            self.reads += 1
            return [self.values.get(key.decode()) for key in arguments]
        if isinstance(name, bytes):
            name = name.decode()
        if name in ("SET", "GET") and isinstance(arguments[0], bytes):
            arguments[0] = arguments[0].decode()
        if name == "SET":
            arguments[2:] = [word.decode() if isinstance(word, bytes) else word for word in arguments[2:]]
        if name == "SET":
            if self.full:
                return hiredis.ReplyError("OOM command not allowed when used memory > 'maxmemory'.")
            if "NX" in arguments and arguments[0] in self.values:
                return None
            self.values[arguments[0]] = arguments[1]
            return b"OK"
        if name == "GET":
            return self.values.get(arguments[0])
        if name == "MGET":
            self.looks += 1
            return [self.values.get(key) for key in arguments]
        if name == "DEL":
            return int(self.values.pop(arguments[0], None) is not None)
        if name == "HGET":
            return self.hashes.get(arguments[0], {}).get(arguments[1])
        if name == "EXPIREAT":
            return int(arguments[0] in self.hashes)
        if name == "HSET":
            self.hashes.setdefault(arguments[0], {}).update(
                zip(arguments[1::2], arguments[2::2], strict=True)
            )
            return 1
        return b"PONG" if name == "PING" else hiredis.ReplyError(f"ERR unknown command {name!r}")


class FakePublisher:
    """Keeps what is published; acknowledges at once unless ``silent``, refuses when ``full``."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, bytes, dict[str, bytes]]] = []
        self.waiting: list[Done] = []
        self.silent = False
        self.full = False
        self.error: str | None = None

    def publish(
        self, topic: str, key: str, value: bytes, headers: list[tuple[str, bytes]], done: Done
    ) -> None:
        if self.full:
            raise QueueFull("no room")
        self.records.append((topic, key, value, dict(headers)))
        if self.silent:
            self.waiting.append(done)
        else:
            done(self.error)

    def answered(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        return not self.silent

    def publish_set(self, topic: str, records: Sequence[tuple[str, bytes, Headers]], sent: SentSet) -> None:
        for place, record in enumerate(records):
            self.publish(topic, *record, partial(sent.report, place))


class FakeModel:
    """A model that is there, or not."""

    rollout: RolloutRecord | None = None
    problem = "no bundle was rolled out yet"

    def __init__(self, scorer: Scorer | None) -> None:
        self.serving = Serving(scorer)
