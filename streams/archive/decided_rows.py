"""Past decisions from the archive with the state of their labels, for the figures of live performance."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from features.identity_column import identity_column
from models.decision import DECISIONS
from models.performance.decided import DecidedRows, joined
from models.training.archived import first_of_each
from models.training.dataset import milliseconds, stated
from models.training.label_states import label_states
from streams.archive.rules_past import read_day, span
from streams.archive.tables import DECISION_SCHEMA, OUTCOME_SCHEMA
from streams.log.topics import DECISIONS as DECISION_TOPIC
from streams.log.topics import FEATURES, OUTCOMES

#: newest decisions that are read: about 400 MB
MAX_ROWS = 2_000_000
_FIELDS = [
    "transaction_id",
    "tenant",
    "card_id",
    "amount_minor",
    "currency",
    "channel_name",
    "event_timestamp",
]


class Past(NamedTuple):
    """``rows`` in order of days. ``since_ms`` to ``newest_ms``: event times; ``left_out``: older decisions of this span that were not
    read, because there are more than ``MAX_ROWS``, by day.
    """

    rows: DecidedRows
    since_ms: int
    newest_ms: int
    left_out: list[str]


def decided_rows(archive: Path, back_ms: int, *, max_rows: int = MAX_ROWS) -> Past | None:
    """The decisions of the last ``back_ms`` milliseconds before the newest archived event; None if nothing is archived.

    A label counts as in training: a row matures ``MATURITY_MS`` after its event, labelled or not.
    """
    found = span(archive, back_ms)
    if found is None:
        return None
    parts: list[DecidedRows] = []
    rows = 0
    days = list(reversed(found.days))
    while days and rows < max_rows:
        part = _day(archive, days.pop(0), found.since_ms, found.newest_ms)
        parts.append(part)
        rows += len(part)
    return Past(joined(parts[::-1]), found.since_ms, found.newest_ms, sorted(_date(day) for day in days))


def _day(archive: Path, day: str, since_ms: int, newest_ms: int) -> DecidedRows:
    since = pc.field("event_timestamp") >= pa.scalar(since_ms, pa.timestamp("ms", tz="UTC"))
    table = first_of_each(read_day(archive / FEATURES.name / day, FEATURE_SCHEMA, _FIELDS, since))
    decisions = read_day(
        archive / DECISION_TOPIC.name / day, DECISION_SCHEMA, ["transaction_id", "tenant", "score", "decision", "model_version"]
    )  # fmt: skip
    outcomes = read_day(
        archive / OUTCOMES.name / day, OUTCOME_SCHEMA, ["transaction_id", "tenant", "label", "label_time"]
    )
    # newest label first: ``index_in`` takes the first match
    outcomes = outcomes.sort_by([("label_time", "descending")])
    decided = pc.index_in(identity_column(table), identity_column(decisions))
    known = pc.is_valid(decided)
    table, decided = table.filter(known), pc.drop_null(decided)
    decisions = decisions.take(decided)
    told = outcomes.take(pc.index_in(identity_column(table), identity_column(outcomes)))
    code = np.array([DECISIONS.index(name) for name in decisions["decision"].to_pylist()], np.int8)
    event_ms = milliseconds(table["event_timestamp"])
    labels = label_states(
        stated(told).arrived(),
        event_ms,
        newest_ms,
        silence="honest",
        declined=code == DECISIONS.index("decline"),
    )
    return DecidedRows(
        event_ms=event_ms, card=_texts(table["card_id"]), code=code,
        score=decisions["score"].to_numpy().astype(np.float32), state=labels.state.astype(np.int8), stated=labels.stated,
        amount_minor=table["amount_minor"].to_numpy().astype(np.int64), currency=_texts(table["currency"]),
        model_version=_texts(decisions["model_version"]), tenant=_texts(table["tenant"]), channel=_texts(table["channel_name"]),
    )  # fmt: skip


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=object)


def _date(folder: str) -> str:
    return date.fromisoformat(folder.removeprefix("date=")).isoformat()
