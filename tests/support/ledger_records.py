"""Records of the ledger as its accounts read them, made by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass
class Record:
    """What the accounts need of a Kafka message."""

    name: str
    place: tuple[int, int]
    at: int
    raw: bytes | None
    more: list[tuple[str, bytes]] | None = None

    def topic(self) -> str:
        return self.name

    def partition(self) -> int:
        return self.place[0]

    def offset(self) -> int:
        return self.place[1]

    def timestamp(self) -> tuple[int, int]:
        return 2, self.at

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self.more

    def value(self) -> bytes | None:
        return self.raw


def tx(name: str, offset: int, at: int = 0, partition: int = 0, tenant: str = "default") -> Record:
    value = {"card_id": "c", "transaction_id": name, "tenant": tenant}
    return Record("transactions", (partition, offset), at, json.dumps(value).encode())


def decision(name: str, at: int = 0, status: str = "scored", tenant: str = "default") -> Record:
    value = {"transaction_id": name, "status": status, "score": None, "tenant": tenant}
    return Record("decisions", (0, 0), at, json.dumps(value).encode())


def dead(offset: int, partition: int = 0, topic: str = "transactions") -> Record:
    value = {"source_topic": topic, "source_partition": partition, "source_offset": offset, "reason": "field"}
    return Record("dead-letters", (0, 0), 0, json.dumps(value).encode())
