"""Decisions as the API gives them, and the queries that find them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from sqlite3 import Connection, Row
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

_COLUMNS = (
    "d.id, d.identity, d.tenant, d.transaction_id, d.decision, d.status, d.score, d.decided_ms, d.card_id, d.merchant_id, d.device_id, d.ip, "
    "d.customer_id, d.amount_minor, d.currency, d.channel, d.country, d.loss, d.label, d.label_by, d.label_source, d.label_ms, d.label_state, "
    "d.lock_owner, d.lock_ms, d.public, (SELECT count(*) FROM note n WHERE n.identity = d.identity) AS notes, "
    "(SELECT w.sends_ms FROM waiting_label w WHERE w.identity = d.identity) AS sends_ms"
)
#: entities by which decisions are found, and their columns
ENTITIES = {
    "card": "card_id",
    "merchant": "merchant_id",
    "device": "device_id",
    "ip": "ip",
    "customer": "customer_id",
}
#: of the decision as it was received
_PUBLIC = (
    "reasons",
    "rules",
    "degraded_by",
    "model_version",
    "policy_version",
    "arm",
    "event_time",
    "latency_ms",
)
#: what a review loses in the queue by its age: it begins with this age
HEAD_START_S = 600.0


@dataclass(frozen=True)
class Wanted:
    """Which decisions; what is empty or None does not restrict. ``tenants``: those that the asker may see."""

    tenants: Sequence[str] = ()
    decisions: Sequence[str] = ()
    statuses: Sequence[str] = ()
    entities: dict[str, str] = field(default_factory=dict)
    #: (entity, id): decisions that have any of these
    any_of: Sequence[tuple[str, str]] = ()
    rule: str | None = None
    reason: str | None = None
    #: "fraud", "legit" or "none"
    label: str | None = None
    currency: str | None = None
    begin_ms: int | None = None
    end_ms: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    #: beginning of a transaction id
    id_prefix: str | None = None
    #: those that were kept after the one with this number
    after: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, with its values."""
        parts: list[str] = []
        values: list[Any] = []

        def add(text: str, *given: Any) -> None:
            parts.append(text)
            values.extend(given)

        for column, names in (
            ("d.tenant", self.tenants), ("d.decision", self.decisions), ("d.status", self.statuses),
        ):  # fmt: skip
            if names:
                add(f"{column} IN ({', '.join('?' * len(names))})", *names)
        for entity, value in self.entities.items():
            add(f"d.{ENTITIES[entity]} = ?", value)
        if self.any_of:
            wanted = {kind: [value for each, value in self.any_of if each == kind] for kind, _ in self.any_of}
            named = [
                f"d.{ENTITIES[kind]} IN ({', '.join('?' * len(found))})" for kind, found in wanted.items()
            ]
            add(f"({' OR '.join(named)})", *(value for found in wanted.values() for value in found))
        bounds: tuple[tuple[str, Any], ...] = (
            ("d.decided_ms >= ?", self.begin_ms), ("d.decided_ms < ?", self.end_ms), ("d.score >= ?", self.min_score),
            ("d.score <= ?", self.max_score), ("d.currency = ?", self.currency), ("d.id > ?", self.after),
            ("d.id IN (SELECT decision_id FROM rule_hit WHERE rule = ?)", self.rule),
        )  # fmt: skip
        for text, value in bounds:
            if value is not None:
                add(text, value)
        if self.reason is not None:
            add("instr(d.public, ?)", f'"code":{json.dumps(self.reason)}')
        if self.label is not None:
            add("d.label IS NULL") if self.label == "none" else add("d.label = ?", self.label)
        if self.id_prefix:
            # the last code point is above all that an id may hold
            add(
                "d.transaction_id >= ? AND d.transaction_id < ?",
                self.id_prefix,
                self.id_prefix + "\U0010ffff",
            )
        return " AND ".join(parts) or "1", values


#: a number that SQLite can hold, as a cursor gives it back
Count = Annotated[int, Meta(ge=0, le=2**53)]


class Shown(NamedTuple):
    """Where a decision stands in a list of the newest."""

    decided_ms: Count
    id: Count


def newest(connection: Connection, wanted: Wanted, limit: int, after: Shown | None = None) -> list[Row]:
    """The newest decisions, newest first; ``after``: the last row of the page before."""
    where, values = wanted.where()
    if after is not None:
        where, values = f"{where} AND (d.decided_ms, d.id) < (?, ?)", [*values, *after]
    return connection.execute(
        f"SELECT {_COLUMNS} FROM decision d WHERE {where} ORDER BY d.decided_ms DESC, d.id DESC LIMIT ?",
        (*values, limit),
    ).fetchall()


def counted(connection: Connection, wanted: Wanted) -> int:
    """How many decisions there are of these."""
    where, values = wanted.where()
    return int(connection.execute(f"SELECT count(*) FROM decision d WHERE {where}", values).fetchone()[0])


def one(connection: Connection, identity: str) -> Row | None:
    """The kept decision of a transaction."""
    found: Row | None = connection.execute(
        f"SELECT {_COLUMNS} FROM decision d WHERE d.identity = ?", (identity,)
    ).fetchone()
    return found


def some(connection: Connection, ids: Iterable[int]) -> list[Row]:
    """These decisions, in this order."""
    wanted = list(ids)
    found = {
        row["id"]: row
        for row in connection.execute(
            f"SELECT {_COLUMNS} FROM decision d WHERE d.id IN ({', '.join('?' * len(wanted))})", wanted
        )
    }
    return [found[each] for each in wanted if each in found]


def instant(ms: int | float | None) -> str | None:
    """A time as the API gives it."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(row: Row, now_ms: int, person: str) -> dict[str, Any]:
    """A row as the API gives it to a person: see ``DecisionRow``."""
    public = json.loads(row["public"])
    same = ("transaction_id", "tenant", "decision", "status", "score", "amount_minor", "currency", "card_id", "merchant_id",
            "device_id", "ip", "customer_id", "channel", "country", "notes")  # fmt: skip
    loss = None if row["amount_minor"] is None else round((1.0 if row["score"] is None else row["score"]) * row["amount_minor"])  # fmt: skip
    return {
        **{name: row[name] for name in same},
        **{name: public.get(name) for name in _PUBLIC},
        "decided_at": instant(row["decided_ms"]), "age_s": round((now_ms - row["decided_ms"]) / 1000, 1),
        "expected_loss_minor": loss, "label": label_of(row), "lock": lock_of(row, now_ms, person),
    }  # fmt: skip


def label_of(row: Row) -> dict[str, Any] | None:
    """The label of a row and what became of it; None without one."""
    if row["label"] is None:
        return None
    return {
        "label": row["label"], "by": row["label_by"], "source": row["label_source"], "at": instant(row["label_ms"]),
        "state": row["label_state"], "sends_at": instant(row["sends_ms"]),
    }  # fmt: skip


def lock_of(row: Row, now_ms: int, person: str) -> dict[str, Any] | None:
    """Who works on a row now; None if nobody."""
    if row["lock_owner"] is None or row["lock_ms"] <= now_ms:
        return None
    return {"owner": row["lock_owner"], "until": instant(row["lock_ms"]), "mine": row["lock_owner"] == person}
