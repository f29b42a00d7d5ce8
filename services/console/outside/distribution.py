"""How the values of one feature are distributed: in the live model's reference, and among the newest archived payments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from features.feast_repo.archived import COLUMNS, SCHEMA
from models.bundle.reference import Reference
from models.drift.statistics import Bins, population_stability_index
from streams.archive.tables import DECISION_SCHEMA
from streams.drift.comparable import COMPARABLE, SCORE
from streams.log.topics import DECISIONS, FEATURES

Floats = npt.NDArray[np.floating[Any]]
#: newest payments that are compared, and the files that are opened for them at most
ROWS, MAX_FILES, MAX_DAYS = 5_000, 60, 400
_CATEGORIES = frozenset(column.name for column in COMPARABLE if column.kind == "category")
_AT = "event_timestamp"


def distribution(archive: Path, reference: Reference, feature: str) -> dict[str, Any] | None:
    """Shares by bin of both, and of values that are not known. Bins are those of the drift tests: the reference's deciles, or its
    common categories and one for all others. None: neither a feature of the reference nor the score, or nothing is archived yet.
    """
    if feature == SCORE:
        before, folder, schema, column = reference.scores, DECISIONS.name, DECISION_SCHEMA, SCORE
    elif feature in reference.names and feature in COLUMNS:
        before = reference.matrix[:, reference.place(feature)]
        folder, schema, column = FEATURES.name, SCHEMA, COLUMNS[feature]
    else:
        return None
    table = _newest(archive / folder, schema, column)
    if table is None:
        return None
    now = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
    kind = "category" if feature in _CATEGORIES else "number"
    bins = Bins.of(_known(before), "category" if kind == "category" else "number")
    expected, actual = (bins.shares(bins.codes(_known(values))) for values in (before, now))
    times = table[_AT].to_pylist()
    return {
        "feature": feature, "kind": kind, "edges": bins.edges.tolist(),
        "reference": {"rows": len(before), "unknown": _unknown(before), "shares": expected.round(4).tolist()},
        "now": {
            "rows": len(now), "unknown": _unknown(now), "shares": actual.round(4).tolist(),
            "from": min(times).isoformat(), "to": max(times).isoformat(),
        },
        "psi": round(population_stability_index(expected, actual), 4),
    }  # fmt: skip


def _newest(folder: Path, schema: pa.Schema, column: str) -> pa.Table | None:
    """The newest archived rows by event time, about ``ROWS``; None if there are none."""
    days = sorted(folder.glob("date=*"), reverse=True)[:MAX_DAYS]
    # a day's files are read together: which of them holds the newest payments is not in their names
    found: list[pa.Table] = []
    rows = files = 0
    for day in days:
        paths = [str(path) for path in sorted(day.glob("*.parquet"), reverse=True)[: MAX_FILES - files]]
        if paths:
            found.append(ds.dataset(paths, schema=schema, format="parquet").to_table(columns=[column, _AT]))
            files, rows = files + len(paths), rows + len(found[-1])
        if rows >= ROWS or files >= MAX_FILES:
            break
    if not rows:
        return None
    return pa.concat_tables(found).sort_by([(_AT, "descending")]).slice(0, ROWS)


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _unknown(values: Floats) -> float:
    """The share of values that are not known."""
    return round(float(np.isnan(values).mean()), 4) if len(values) else 0.0
