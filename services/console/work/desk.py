"""The queue: locks, labels that can be taken back for a moment, notes. All of it in the console's SQLite file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Any, Literal, NamedTuple

from features.currencies import DECIMALS
from services.console.kept.database import Database
from services.console.kept.rows import (
    HEAD_START_S,
    Count,
    Wanted,
    as_json,
    instant,
    label_of,
    lock_of,
    one,
    some,
)
from services.console.problems import Problem, unknown

#: how long a lock holds without being renewed; how long a label can be taken back
LOCK_MS, UNDO_MS = 300_000, 10_000
MAX_NOTES = 100
Locked = Literal["any", "free", "mine"]


class Place(NamedTuple):
    """Where a review stands in the queue as of a moment."""

    as_of_ms: Count
    urgency: float
    decided_ms: Count
    id: Count


@dataclass(frozen=True)
class Desk:
    """Where reviews are worked on. Times are milliseconds since 1970; ``tenants``: those that the person sees, empty: all."""

    database: Database

    def items(
        self, wanted: Wanted, person: str, now_ms: int, *, locked: Locked = "any", limit: int = 100, after: Place | None = None
    ) -> tuple[list[Row], Place | None]:  # fmt: skip
        """Open reviews by expected loss times age, the most urgent first, and the place of the last one; None: no more follow.

        Args:
            after: the place where the page before ended. Ages are those of then, so that nothing moves between two pages.
        """
        connection = self.database.read()
        places = _urgent(connection, wanted, person, now_ms, locked, limit, after)
        return some(connection, [place.id for place in places]), places[-1] if len(places) == limit else None

    def mark(self) -> int:
        """The number of the newest decision that is kept; 0: none is."""
        return int(self.database.read().execute("SELECT coalesce(max(id), 0) FROM decision").fetchone()[0])

    def open_count(self, wanted: Wanted) -> int:
        """How many reviews are open."""
        where, values = wanted.where()
        query = f"SELECT count(*) FROM decision d WHERE d.open = 1 AND {where}"
        return int(self.database.read().execute(query, values).fetchone()[0])

    def standing(self, tenants: Sequence[str], now_ms: int, within_s: int) -> dict[str, Any]:
        """Open reviews: their number, how many are older than ``within_s``, the age of the oldest in seconds, and the expected loss by
        currency in minor units."""
        where, values = Wanted(tenants=tenants).where()
        # all of it from the index of open reviews: it holds the loss, in units of its currency
        found = self.database.read().execute(
            "SELECT d.currency, count(*), total(d.decided_ms < ?), min(d.decided_ms), total(d.loss) FROM decision d "
            f"WHERE d.open = 1 AND {where} GROUP BY d.currency ORDER BY 5 DESC",
            (now_ms - within_s * 1000, *values),
        ).fetchall()  # fmt: skip
        oldest = min((row[3] for row in found), default=None)
        return {
            "open": sum(row[1] for row in found), "late": int(sum(row[2] for row in found)),
            "oldest_age_s": None if oldest is None else round((now_ms - oldest) / 1000, 1),
            "expected_loss": [
                {"currency": currency, "minor": round(loss * 10 ** DECIMALS.get(currency, 2))}
                for currency, _, _, _, loss in found
                if currency is not None
            ],
        }  # fmt: skip

    def take_next(self, wanted: Wanted, person: str, now_ms: int) -> Row | None:
        """Lock the most urgent review that nobody works on, and return it; None if there is none."""
        with self.database.write() as connection:
            places = _urgent(connection, wanted, person, now_ms, "free", 1)
            if not places:
                return None
            _set_lock(connection, places[0].id, person, now_ms)
        return some(self.database.read(), [places[0].id])[0]

    def lock(self, identity: str, person: str, now_ms: int) -> dict[str, Any]:
        """Take or renew the lock of a review. Raises: Problem 404; 409, another person has it."""
        with self.database.write() as connection:
            row = _mine(connection, identity, person, now_ms)
            _set_lock(connection, row["id"], person, now_ms)
        return {"owner": person, "until": instant(now_ms + LOCK_MS), "mine": True}

    def release(self, identity: str, person: str, now_ms: int) -> None:
        """Give a lock back. Raises: Problem 404; 409, another person has it."""
        with self.database.write() as connection:
            row = _mine(connection, identity, person, now_ms)
            connection.execute(
                "UPDATE decision SET lock_owner = NULL, lock_ms = NULL WHERE id = ?", (row["id"],)
            )

    def hand_over(self, identity: str, person: str, to: str, now_ms: int) -> dict[str, Any]:
        """Give a lock to another person, who must be known. Raises: Problem 404; 409, a third person has it."""
        with self.database.write() as connection:
            row = _mine(connection, identity, person, now_ms)
            _set_lock(connection, row["id"], to, now_ms)
        return {"owner": to, "until": instant(now_ms + LOCK_MS), "mine": to == person}

    def label(
        self, identity: str, label: str, person: str, now_ms: int, *, first: bool = False
    ) -> dict[str, Any]:
        """Label a decision; the label is sent to Kafka after ``UNDO_MS``. ``first``: nobody may have labelled it yet.

        Raises:
            Problem: 404; 409: another person works on it, its payment is not known yet, or it is labelled.
        """
        with self.database.write() as connection:
            row = _mine(connection, identity, person, now_ms)
            if first and row["label"] is not None:
                who = row["label_by"] or row["label_source"]
                raise Problem(409, "labelled", f"{who} has labelled it already: {row['label']}", label=label_of(row))  # fmt: skip
            if row["merchant_id"] is None:
                raise Problem(
                    409,
                    "refused",
                    f"the payment of {row['transaction_id']} is not known yet: try again in a moment",
                )
            connection.execute(
                "REPLACE INTO waiting_label VALUES (?, ?, ?, ?, ?)",
                (identity, label, person, now_ms, now_ms + UNDO_MS),
            )
            connection.execute(
                "UPDATE decision SET label = ?, label_by = ?, label_source = 'analyst', label_ms = ?, label_state = 'waiting', "
                "open = 0, lock_owner = NULL, lock_ms = NULL WHERE id = ?",
                (label, person, now_ms, row["id"]),
            )
        found = one(self.database.read(), identity)
        assert found is not None
        made = label_of(found)
        assert made is not None
        return made

    def take_back(self, identity: str, person: str, now_ms: int) -> None:
        """Take a label back that has not been sent; the review is open again, and locked by the person.

        Raises:
            Problem: 404; 409: it was sent, or another person made it.
        """
        with self.database.write() as connection:
            row = one(connection, identity)
            if row is None:
                raise unknown("no such decision")
            waits = connection.execute(
                "DELETE FROM waiting_label WHERE identity = ? AND by = ? AND sends_ms > ?",
                (identity, person, now_ms),
            ).rowcount
            if not waits:
                raise Problem(409, "already_sent", "the label is sent: post the other one to correct it")
            connection.execute(
                "UPDATE decision SET label = NULL, label_by = NULL, label_source = NULL, label_ms = NULL, label_state = NULL, "
                "open = (decision = 'review') WHERE id = ?",
                (row["id"],),
            )
            _set_lock(connection, row["id"], person, now_ms)

    def add_note(self, identity: str, person: str, text: str, now_ms: int) -> dict[str, Any]:
        """Add a note to a decision. Raises: Problem 404; 409, it has ``MAX_NOTES``."""
        with self.database.write() as connection:
            if one(connection, identity) is None:
                raise unknown("the console keeps no such decision")
            if (
                connection.execute("SELECT count(*) FROM note WHERE identity = ?", (identity,)).fetchone()[0]
                >= MAX_NOTES
            ):
                raise Problem(409, "refused", f"a decision has at most {MAX_NOTES} notes")
            made = connection.execute(
                "INSERT INTO note (identity, by, at_ms, text) VALUES (?, ?, ?, ?)",
                (identity, person, now_ms, text),
            ).lastrowid
        return {"id": made, "by": person, "at": instant(now_ms), "text": text}

    def notes(self, identity: str) -> list[dict[str, Any]]:
        """The notes of a decision, oldest first."""
        rows = self.database.read().execute(
            "SELECT id, by, at_ms, text FROM note WHERE identity = ? ORDER BY id", (identity,)
        )
        return [
            {"id": row["id"], "by": row["by"], "at": instant(row["at_ms"]), "text": row["text"]}
            for row in rows
        ]

    def row(self, identity: str, person: str, now_ms: int) -> dict[str, Any] | None:
        """A kept decision as the API gives it."""
        found = one(self.database.read(), identity)
        return None if found is None else as_json(found, now_ms, person)


def _urgent(
    connection: Connection, wanted: Wanted, person: str, now_ms: int, locked: Locked, limit: int, after: Place | None = None
) -> list[Place]:  # fmt: skip
    where, values = wanted.where()
    conditions: dict[Locked, tuple[str, list[Any]]] = {
        "any": ("1", []),
        "free": ("(d.lock_owner IS NULL OR d.lock_ms <= ? OR d.lock_owner = ?)", [now_ms, person]),
        "mine": ("(d.lock_owner = ? AND d.lock_ms > ?)", [person, now_ms]),
    }
    free, more = conditions[locked]
    as_of_ms = now_ms if after is None else after.as_of_ms
    # a review begins with an age of HEAD_START_S
    urgency = f"d.loss * ({as_of_ms + int(HEAD_START_S * 1000)} - d.decided_ms)"
    if after is not None:
        free += f" AND ({urgency} < ? OR {urgency} = ? AND (d.decided_ms, d.id) > (?, ?))"
        more += [after.urgency, after.urgency, after.decided_ms, after.id]
    rows = connection.execute(
        f"SELECT {urgency}, d.decided_ms, d.id FROM decision d WHERE d.open = 1 AND {where} AND {free} ORDER BY 1 DESC, 2, 3 LIMIT ?",
        (*values, *more, limit),
    )
    return [Place(as_of_ms, *row) for row in rows]


def _mine(connection: Connection, identity: str, person: str, now_ms: int) -> Row:
    """A decision on which nobody else works. Raises: Problem 404, 409."""
    row = one(connection, identity)
    if row is None:
        raise unknown("the console keeps no such decision")
    lock = lock_of(row, now_ms, person)
    if lock is not None and not lock["mine"]:
        raise Problem(409, "locked", f"{lock['owner']} works on it until {lock['until']}", lock=lock)
    return row


def _set_lock(connection: Connection, decision_id: int, person: str, now_ms: int) -> None:
    connection.execute(
        "UPDATE decision SET lock_owner = ?, lock_ms = ? WHERE id = ?",
        (person, now_ms + LOCK_MS, decision_id),
    )
