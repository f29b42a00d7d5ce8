"""Reads past transactions from the archive, day by day: fields, some features, score and label."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import NO_ATTRIBUTES, PREFIX, Attributes
from features.catalogue import INDEX, WIDTH
from features.feast_repo.archived import COLUMNS, attribute_column, schema_with
from models.policy.comparison import PastRows
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS, TableColumns
from models.training.dataset import milliseconds, stated
from models.training.label_states import LabelState, label_states
from streams.archive.days import Span, decided_day

#: fields that have another column name in the archive
_COLUMN = {"channel": "channel_name", "mcc": "mcc_code"}
#: rows per slice: a matrix of 4,096 rows takes 4 MB
SLICE = 4_096


def past_rows(
    archive: Path, found: Span, features: Collection[str], attributes: Attributes = NO_ATTRIBUTES
) -> Iterator[PastRows]:
    """Decided transactions of a span, in slices, with the ``attributes`` that the stack declares. Only the named features are read; the
    others are NaN."""
    names = sorted(NUMBER_FIELDS | TEXT_FIELDS)
    columns = [_COLUMN.get(name, name) for name in names]
    for name, declared in attributes.declared.items():
        names.append(PREFIX + name)
        columns.append(attribute_column(name, declared.type))
    schema = schema_with(attributes)
    for day in found.days:
        read = [*columns, *(COLUMNS[name] for name in features)]
        table = decided_day(archive, day, schema, read, found.since_ms, ("score", "decision"))
        for start in range(0, table.num_rows, SLICE):
            yield _rows(table.slice(start, SLICE), names, columns, features, found.newest_ms)


def _rows(
    table: pa.Table, names: list[str], columns: list[str], features: Collection[str], newest_ms: int
) -> PastRows:
    matrix = np.full((table.num_rows, WIDTH), np.nan, np.float32)
    for name in features:
        matrix[:, INDEX[name]] = table[COLUMNS[name]].to_numpy()
    declined = np.asarray(pc.fill_null(pc.equal(table["decision"], "decline"), False))
    # a stated label counts at once: a rule is not trained, so frauds that are reported sooner than honest payments do no harm
    labels = label_states(
        stated(table).arrived(), milliseconds(table["event_timestamp"]), newest_ms, silence="honest", declined=declined,
        wait=False,
    )  # fmt: skip
    fields = {name: table[column].to_pylist() for name, column in zip(names, columns, strict=True)}
    return PastRows(
        scores=table["score"].to_numpy().astype(np.float32), matrix=matrix, columns=TableColumns(fields),
        amount_minor=table["amount_minor"].to_numpy(), currency=np.array(fields["currency"], dtype=object),
        fraud=labels.state == LabelState.FRAUD, honest=labels.state == LabelState.HONEST,
        censored=labels.state == LabelState.CENSORED,
    )  # fmt: skip
