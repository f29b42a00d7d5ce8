"""What the console forgets, and when."""

from __future__ import annotations

from sqlite3 import Connection

from services.console.kept.ticks import forget

KEEP_DAYS = 30
#: a closed case is kept so long after its last change
KEEP_CASES_DAYS = 400
#: decisions kept; beyond, the oldest go
MAX_KEPT = 500_000
DAY_S = 86_400


def trim(connection: Connection, now_s: float, keep_days: int = KEEP_DAYS, max_kept: int = MAX_KEPT) -> None:
    """Remove what is too old, or beyond what is kept. Notes go with their decision; open cases stay."""
    begin_ms = int((now_s - keep_days * DAY_S) * 1000)
    over = connection.execute("SELECT decided_ms FROM decision ORDER BY decided_ms DESC LIMIT 1 OFFSET ?", (max_kept,)).fetchone()  # fmt: skip
    if over is not None:
        begin_ms = max(begin_ms, over[0] + 1)
    connection.execute(
        "DELETE FROM note WHERE identity IN (SELECT identity FROM decision WHERE decided_ms < ?)", (begin_ms,)
    )
    connection.execute("DELETE FROM rule_hit WHERE decided_ms < ?", (begin_ms,))
    connection.execute("DELETE FROM rule_passed WHERE hour_ms < ?", (begin_ms,))
    connection.execute(
        "DELETE FROM missed_fraud WHERE label_ms < ?", (int((now_s - keep_days * DAY_S) * 1000),)
    )
    connection.execute("DELETE FROM decision WHERE decided_ms < ?", (begin_ms,))
    closed = "SELECT id FROM case_file WHERE state = 'closed' AND changed_ms < ?"
    cases_ms = int((now_s - KEEP_CASES_DAYS * DAY_S) * 1000)
    for table in ("case_entity", "case_event"):
        connection.execute(f"DELETE FROM {table} WHERE case_id IN ({closed})", (cases_ms,))
    connection.execute(f"DELETE FROM case_file WHERE id IN ({closed})", (cases_ms,))
    forget(connection, int(now_s), keep_days * DAY_S)
