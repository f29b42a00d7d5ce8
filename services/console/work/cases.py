"""Cases: what people look into together. A case holds entities of one tenant; its payments are those that have any of them.

Every change stands in the case with its person and reason. A closed case changes only by being opened again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Any, Literal

from services.console.kept.database import Database
from services.console.kept.rows import Wanted, instant
from services.console.problems import Problem, unknown

MAX_OPEN, MAX_ENTITIES, MAX_EVENTS = 10_000, 50, 1_000
Outcome = Literal["fraud", "genuine", "unclear"]
State = Literal["open", "escalated", "closed"]
#: (kind, id)
Entity = tuple[str, str]


@dataclass(frozen=True)
class Cases:
    """The cases of one console. Times are milliseconds since 1970; ``tenants``: those that the person sees, empty: all."""

    database: Database

    def begin(
        self, tenant: str, title: str, entities: Sequence[Entity], person: str, why: str, now_ms: int
    ) -> int:
        """Open a case, assigned to the person; returns its number.

        Raises:
            Problem: 409: an open case has one of the entities, or too many are open.
        """
        with self.database.write() as connection:
            for kind, value in entities:
                _none_has(connection, tenant, kind, value)
            if (
                connection.execute("SELECT count(*) FROM case_file WHERE state <> 'closed'").fetchone()[0]
                >= MAX_OPEN
            ):
                raise Problem(409, "refused", f"{MAX_OPEN:,} cases are open: close some first")
            number = connection.execute(
                "INSERT INTO case_file (tenant, title, state, assignee, opened_by, opened_ms, changed_ms) "
                "VALUES (?, ?, 'open', ?, ?, ?, ?)",
                (tenant, title, person, person, now_ms, now_ms),
            ).lastrowid
            assert number is not None
            connection.executemany(
                "INSERT OR IGNORE INTO case_entity VALUES (?, ?, ?)",
                [(number, kind, value) for kind, value in entities],
            )
            _note(
                connection, number, person, "opened", why, now_ms, entities=[list(each) for each in entities]
            )
        return number

    def listed(
        self,
        tenants: Sequence[str],
        *,
        closed: bool = False,
        assignee: str | None = None,
        entity: Entity | None = None,
        limit: int = 200,
    ) -> list[dict[str, Any]]:
        """Cases, the one that changed last first; without ``closed`` only those that are open or escalated."""
        where, values = ["1"], list[Any]()
        if tenants:
            where.append(f"c.tenant IN ({', '.join('?' * len(tenants))})")
            values += tenants
        if not closed:
            where.append("c.state <> 'closed'")
        if assignee is not None:
            where.append("c.assignee = ?")
            values.append(assignee)
        if entity is not None:
            where.append("c.id IN (SELECT case_id FROM case_entity WHERE kind = ? AND value = ?)")
            values += entity
        connection = self.database.read()
        rows = connection.execute(
            f"SELECT c.* FROM case_file c WHERE {' AND '.join(where)} ORDER BY c.changed_ms DESC, c.id DESC LIMIT ?",
            (*values, limit),
        ).fetchall()
        return [_head(row, _entities(connection, row["id"])) for row in rows]

    def one(self, number: int, tenants: Sequence[str]) -> dict[str, Any]:
        """A case with all that was done in it, the oldest first. Raises: Problem 404."""
        connection = self.database.read()
        head = _head(_found(connection, number, tenants), _entities(connection, number))
        events = connection.execute(
            "SELECT at_ms, by, action, text, detail FROM case_event WHERE case_id = ? ORDER BY id", (number,)
        )
        history = [
            {
                "at": instant(row["at_ms"]), "by": row["by"], "action": row["action"], "text": row["text"],
                "detail": json.loads(row["detail"]),
            }
            for row in events
        ]  # fmt: skip
        return {**head, "events": history}

    def payments_of(self, number: int, tenants: Sequence[str]) -> Wanted:
        """Which decisions belong to a case. Raises: Problem 404."""
        connection = self.database.read()
        row = _found(connection, number, tenants)
        return Wanted(tenants=(row["tenant"],), any_of=_entities(connection, number))

    def note(
        self,
        number: int,
        tenants: Sequence[str],
        person: str,
        action: str,
        text: str,
        now_ms: int,
        **detail: Any,
    ) -> None:
        """Write down what was said or done. Raises: Problem 404; 409, it is closed or full."""
        with self._changing(number, tenants, now_ms) as (connection, _):
            _note(connection, number, person, action, text, now_ms, **detail)

    def assign(
        self,
        number: int,
        tenants: Sequence[str],
        person: str,
        to: str,
        why: str,
        now_ms: int,
        *,
        escalated: bool,
    ) -> None:
        """Give a case to a person, who must be known; ``escalated`` marks it so. Raises: Problem 404; 409, it is closed or full."""
        with self._changing(number, tenants, now_ms) as (connection, row):
            state: State = "escalated" if escalated else row["state"]
            connection.execute(
                "UPDATE case_file SET assignee = ?, state = ? WHERE id = ?", (to, state, number)
            )
            _note(connection, number, person, "escalated" if escalated else "assigned", why, now_ms, to=to)

    def add_entity(
        self, number: int, tenants: Sequence[str], person: str, entity: Entity, why: str, now_ms: int
    ) -> None:
        """Take one more entity into a case. Raises: Problem 404; 409, it is closed or full, or another open case has it."""
        with self._changing(number, tenants, now_ms) as (connection, row):
            if len(_entities(connection, number)) >= MAX_ENTITIES:
                raise Problem(409, "refused", f"a case has at most {MAX_ENTITIES} entities")
            _none_has(connection, row["tenant"], *entity)
            connection.execute("INSERT OR IGNORE INTO case_entity VALUES (?, ?, ?)", (number, *entity))
            _note(connection, number, person, "added", why, now_ms, entities=[list(entity)])

    def close(
        self, number: int, tenants: Sequence[str], person: str, outcome: Outcome, why: str, now_ms: int
    ) -> None:
        """Close a case. Raises: Problem 404; 409, it is closed already."""
        with self._changing(number, tenants, now_ms) as (connection, _):
            connection.execute(
                "UPDATE case_file SET state = 'closed', outcome = ? WHERE id = ?", (outcome, number)
            )
            _note(connection, number, person, "closed", why, now_ms, outcome=outcome)

    def reopen(self, number: int, tenants: Sequence[str], person: str, why: str, now_ms: int) -> None:
        """Open a closed case again, assigned to the person. Raises: Problem 404; 409, it is open, or another has an entity of it."""
        with self.database.write() as connection:
            row = _found(connection, number, tenants)
            if row["state"] != "closed":
                raise Problem(409, "refused", f"case {number} is {row['state']}")
            for kind, value in _entities(connection, number):
                _none_has(connection, row["tenant"], kind, value)
            connection.execute(
                "UPDATE case_file SET state = 'open', outcome = NULL, assignee = ?, changed_ms = ? WHERE id = ?",
                (person, now_ms, number),
            )
            _note(connection, number, person, "reopened", why, now_ms)

    @contextmanager
    def _changing(self, number: int, tenants: Sequence[str], now_ms: int) -> Iterator[tuple[Connection, Row]]:
        with self.database.write() as connection:
            row = _found(connection, number, tenants)
            if row["state"] == "closed":
                raise Problem(409, "closed", f"case {number} is closed: open it again first")
            events = connection.execute("SELECT count(*) FROM case_event WHERE case_id = ?", (number,))
            if events.fetchone()[0] >= MAX_EVENTS:
                raise Problem(409, "refused", f"a case has at most {MAX_EVENTS:,} entries: open another")
            connection.execute("UPDATE case_file SET changed_ms = ? WHERE id = ?", (now_ms, number))
            yield connection, row


def _found(connection: Connection, number: int, tenants: Sequence[str]) -> Row:
    """Raises: Problem 404, also for a case of a tenant that the person does not see."""
    row: Row | None = connection.execute("SELECT * FROM case_file WHERE id = ?", (number,)).fetchone()
    if row is None or (tenants and row["tenant"] not in tenants):
        raise unknown(f"there is no case {number}")
    return row


def _entities(connection: Connection, number: int) -> list[Entity]:
    rows = connection.execute(
        "SELECT kind, value FROM case_entity WHERE case_id = ? ORDER BY kind, value", (number,)
    )
    return [(row["kind"], row["value"]) for row in rows]


def _none_has(connection: Connection, tenant: str, kind: str, value: str) -> None:
    """Raises: Problem 409 with the open case of an entity: two cases about one thing would not know of each other."""
    row = connection.execute(
        "SELECT c.id, c.assignee FROM case_entity e JOIN case_file c ON c.id = e.case_id "
        "WHERE e.kind = ? AND e.value = ? AND c.tenant = ? AND c.state <> 'closed'",
        (kind, value, tenant),
    ).fetchone()
    if row is not None:
        raise Problem(
            409, "already_open", f"case {row['id']} has {kind} {value} already; it is with {row['assignee']}",
            case=row["id"],
        )  # fmt: skip


def _head(row: Row, entities: list[Entity]) -> dict[str, Any]:
    return {
        "case": row["id"], "tenant": row["tenant"], "title": row["title"], "state": row["state"], "assignee": row["assignee"],
        "outcome": row["outcome"], "opened_by": row["opened_by"], "opened_at": instant(row["opened_ms"]),
        "changed_at": instant(row["changed_ms"]), "entities": [{"kind": kind, "id": value} for kind, value in entities],
    }  # fmt: skip


def _note(
    connection: Connection, number: int, person: str, action: str, text: str, now_ms: int, **detail: Any
) -> None:
    connection.execute(
        "INSERT INTO case_event (case_id, at_ms, by, action, text, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (number, now_ms, person, action, text, json.dumps(detail)),
    )
