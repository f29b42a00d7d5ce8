"""Past decisions from the archive with the state of their labels, for the figures of live performance."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from models.decision import DECISIONS
from models.performance.decided import DecidedRows, joined
from models.training.dataset import milliseconds, stated
from models.training.label_states import label_states
from streams.archive.days import decided_day, span

#: newest decisions that are read: about 400 MB
MAX_ROWS = 2_000_000
_FIELDS = ("card_id", "amount_minor", "currency", "channel_name")


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
    return Past(
        joined(parts[::-1]),
        found.since_ms,
        found.newest_ms,
        sorted(day.removeprefix("date=") for day in days),
    )


def _day(archive: Path, day: str, since_ms: int, newest_ms: int) -> DecidedRows:
    table = decided_day(
        archive, day, FEATURE_SCHEMA, _FIELDS, since_ms, ("score", "decision", "model_version")
    )
    code = np.array([DECISIONS.index(name) for name in table["decision"].to_pylist()], np.int8)
    event_ms = milliseconds(table["event_timestamp"])
    labels = label_states(
        stated(table).arrived(),
        event_ms,
        newest_ms,
        silence="honest",
        declined=code == DECISIONS.index("decline"),
    )
    return DecidedRows(
        event_ms=event_ms, card=_texts(table["card_id"]), code=code,
        score=table["score"].to_numpy().astype(np.float32), state=labels.state.astype(np.int8), stated=labels.stated,
        amount_minor=table["amount_minor"].to_numpy().astype(np.int64), currency=_texts(table["currency"]),
        model_version=_texts(table["model_version"]), tenant=_texts(table["tenant"]), channel=_texts(table["channel_name"]),
    )  # fmt: skip


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=object)
