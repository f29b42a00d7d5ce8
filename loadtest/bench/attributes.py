"""What ten attributes cost a transaction, in microseconds of CPU, from its record to the archive: parsed and carried by the processor,
scored by a model that takes all ten, watched for drift, archived.

Run it as ``python -m loadtest.bench.attributes``. Chunks of 256, the best of many rounds, with and without attributes in turn.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import numpy as np

from features.attributes import Attribute, Attributes
from features.catalogue import CATALOGUE_HASH, WIDTH
from models.bundle.attribute_columns import AttributeColumn, AttributeColumns, SentAttributes
from streams.archive.tables import Arrived, feature_table
from streams.contracts.tenants import Tenants
from streams.log.feature_batch import (
    STATES,
    BatchColumns,
    FeatureBatch,
    decode_batch,
    decode_vectors,
    encode_batch,
)
from streams.log.offsets.source_offsets import SourceOffsets
from streams.log.other_catalogues import Layouts
from streams.processor.intake import sort_out

ROWS, ROUNDS = 256, 400
NOW_MS = 1_795_256_200_000
NAMES = [f"attribute_{number}" for number in range(10)]
TENANTS = Tenants(
    attributes=Attributes({name: Attribute("text" if n < 5 else "number") for n, name in enumerate(NAMES)})
)


#: as a model takes them: the texts by the log-odds of each of their values
MODEL = AttributeColumns(
    tuple(
        AttributeColumn(name, "text", encoding={f"value-{value}": value / 10 for value in range(8)})
        if n < 5
        else AttributeColumn(name, "number")
        for n, name in enumerate(NAMES)
    )
)


class _Record(NamedTuple):
    value: bytes
    offset: int
    partition: int = 0
    headers: Any = ()
    topic: str = "transactions"
    timestamp: int = NOW_MS


def records(attributes: bool) -> list[_Record]:
    """A chunk; five texts of a few values and five numbers a row, if ``attributes``."""
    out = []
    for row in range(ROWS):
        sent: dict[str, Any] = {
            "transaction_id": f"tx-{row}", "event_time": "2026-11-21T10:15:30.123Z", "card_id": f"card-{row % 97}", "merchant_id": f"m-{row % 31}",
            "amount_minor": 1299 + row, "currency": "EUR", "device_id": f"d-{row % 53}", "ip": f"203.0.113.{row % 250}", "mcc": "5411",
            "channel": "ecom", "country": "FR",
        }  # fmt: skip
        if attributes:
            sent["attributes"] = {name: f"value-{row % (n + 3)}" if n < 5 else row % (7 * n) + 0.25 * (n % 2) for n, name in enumerate(NAMES)}  # fmt: skip
        out.append(_Record(json.dumps(sent).encode(), row))
    return out


def _refuse(_: Any, text: str) -> None:
    raise AssertionError(text)


def steps(chunk: list[_Record]) -> dict[str, float]:
    """Microseconds a transaction of each step, once."""
    began = time.process_time()
    accepted = sort_out(chunk, 1, 100, tenants=TENANTS).accepted
    parsed = time.process_time()
    attributes = [each or None for each in accepted.columns.attributes]
    none = [0] * ROWS
    columns = BatchColumns(
        *accepted.columns[:-1], accepted.offsets, accepted.appended_ms, accepted.deadline_ms, none, none, None, None,
        attributes if any(attributes) else None,
    )  # fmt: skip
    vectors, as_of = np.zeros((ROWS, WIDTH), np.float32), np.zeros((ROWS, STATES), np.int64)
    begin = time.process_time()
    (value,) = encode_batch(
        FeatureBatch(CATALOGUE_HASH, 0, accepted.event_ms.tolist(), vectors, as_of, columns)
    )
    encoded = time.process_time()
    decode_batch(value, 0).transactions()
    decoded = time.process_time()
    if any(attributes):
        MODEL.block(ROWS, SentAttributes(accepted.columns.attributes))
    scored = time.process_time()
    watched = decode_vectors(value, 0, attributes=any(attributes))
    if watched.attributes:
        MODEL.block(ROWS, SentAttributes(watched.attributes))
    seen = time.process_time()
    arrived = [Arrived(_Record(value, 0), decode_batch(value, 0))]
    feature_table(arrived, _refuse, SourceOffsets(), Layouts(lambda _: None), TENANTS.attributes)
    ended = time.process_time()
    took = {
        "parsed": parsed - began, "carried": encoded - begin, "read by scoring": decoded - encoded, "scored": scored - decoded,
        "watched": seen - scored, "archived": ended - seen,
    }  # fmt: skip
    return {name: seconds / ROWS * 1e6 for name, seconds in took.items()}


def main() -> None:
    """Print each step without and with attributes, and what the attributes cost."""
    chunks = {kind: records(kind == "with") for kind in ("without", "with")}
    best: dict[str, dict[str, float]] = {kind: {} for kind in chunks}
    for _ in range(ROUNDS):
        for kind, chunk in chunks.items():
            for name, us in steps(chunk).items():
                best[kind][name] = min(us, best[kind].get(name, us))
    print(f"{'us a transaction':<20} {'without':>9} {'with ten':>9} {'cost':>7}")
    for name, us in best["without"].items():
        print(f"{name:<20} {us:>9.2f} {best['with'][name]:>9.2f} {best['with'][name] - us:>7.2f}")
    whole = {kind: sum(found.values()) for kind, found in best.items()}
    print(f"{'together':<20} {whole['without']:>9.2f} {whole['with']:>9.2f} {whole['with'] - whole['without']:>7.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
