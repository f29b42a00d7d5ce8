"""The console's SQLite file: its tables, one writer at a time, a connection per thread that reads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: another writer of the file may take so long
BUSY_MS = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS decision (
  id INTEGER PRIMARY KEY,
  identity TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL, transaction_id TEXT NOT NULL,
  decision TEXT NOT NULL, status TEXT NOT NULL, score REAL,
  decided_ms INTEGER NOT NULL, card_id TEXT NOT NULL,
  merchant_id TEXT, device_id TEXT, ip TEXT, customer_id TEXT,
  amount_minor INTEGER, currency TEXT, channel TEXT, country TEXT,
  -- in units of its currency; 0 until the amount is known
  loss REAL NOT NULL DEFAULT 0,
  -- 1: a review that nobody has labelled
  open INTEGER NOT NULL,
  label TEXT, label_by TEXT, label_source TEXT, label_ms INTEGER, label_state TEXT,
  lock_owner TEXT, lock_ms INTEGER,
  -- the decision as it was received
  public TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS decision_time ON decision(decided_ms);
CREATE INDEX IF NOT EXISTS decision_card ON decision(card_id, decided_ms);
CREATE INDEX IF NOT EXISTS decision_merchant ON decision(merchant_id, decided_ms) WHERE merchant_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS decision_device ON decision(device_id, decided_ms) WHERE device_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS decision_ip ON decision(ip, decided_ms) WHERE ip IS NOT NULL;
CREATE INDEX IF NOT EXISTS decision_customer ON decision(customer_id, decided_ms) WHERE customer_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS decision_id ON decision(transaction_id);
CREATE INDEX IF NOT EXISTS decision_open ON decision(loss, decided_ms, tenant, currency, score, lock_ms, lock_owner) WHERE open = 1;
CREATE INDEX IF NOT EXISTS decision_labelled ON decision(label, label_ms) WHERE label IS NOT NULL;
CREATE TABLE IF NOT EXISTS rule_hit (
  rule TEXT NOT NULL, decided_ms INTEGER NOT NULL, decision_id INTEGER NOT NULL, PRIMARY KEY (rule, decided_ms, decision_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rule_hit_time ON rule_hit(decided_ms);
-- matches of payments that were approved, by the hour that begins at hour_ms
CREATE TABLE IF NOT EXISTS rule_passed (
  rule TEXT NOT NULL, hour_ms INTEGER NOT NULL, tenant TEXT NOT NULL, payments INTEGER NOT NULL, PRIMARY KEY (rule, hour_ms, tenant)
) WITHOUT ROWID;
-- payments that were approved and turned out to be fraud
CREATE TABLE IF NOT EXISTS missed_fraud (
  identity TEXT PRIMARY KEY, tenant TEXT NOT NULL, label_ms INTEGER NOT NULL, currency TEXT NOT NULL, amount_minor INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tick (
  step INTEGER NOT NULL, t INTEGER NOT NULL, tenant TEXT NOT NULL, counts BLOB NOT NULL, PRIMARY KEY (step, t, tenant)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS note (
  id INTEGER PRIMARY KEY, identity TEXT NOT NULL, by TEXT NOT NULL, at_ms INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS note_identity ON note(identity);
-- labels that wait for the end of the time in which they can be taken back
CREATE TABLE IF NOT EXISTS waiting_label (
  identity TEXT PRIMARY KEY, label TEXT NOT NULL, by TEXT NOT NULL, made_ms INTEGER NOT NULL, sends_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS case_file (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, title TEXT NOT NULL, state TEXT NOT NULL, assignee TEXT, outcome TEXT,
  opened_by TEXT NOT NULL, opened_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS case_state ON case_file(state, changed_ms);
CREATE TABLE IF NOT EXISTS case_entity (
  case_id INTEGER NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (case_id, kind, value)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS case_entity_value ON case_entity(kind, value);
-- what was done in a case, by whom and why; ``text`` is the note or the reason
CREATE TABLE IF NOT EXISTS case_event (
  id INTEGER PRIMARY KEY, case_id INTEGER NOT NULL, at_ms INTEGER NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,
  text TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS case_event_case ON case_event(case_id);
"""


class Database:
    """One file. ``read`` gives this thread's connection; ``write`` a transaction, one at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        self._own = threading.local()
        self._writer = self._connect()
        self._writer.executescript(_SCHEMA)

    def read(self) -> sqlite3.Connection:
        """This thread's connection, for queries; rows can be read by name."""
        found: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if found is None:
            found = self._own.connection = self._connect()
            found.execute("PRAGMA query_only = ON")
        return found

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end, rolled back by an exception."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        # the lock above says who writes, so a connection may be used by more than one thread
        connection = sqlite3.connect(
            self._path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # after a loss of power the last commits may be missing; the log is read again from the position that is kept beside them
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection
