"""Finds one decision whole: what was decided, and the payment and features that it was decided on, as they were served.

The decision comes from the decision index, else from the newest records of `decisions` (the index is written seconds later), else from
the archive. Payment and features come from the log of `features`, else from the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import TopicPartition

from features.attributes import Attributes
from features.catalogue import CATALOGUE_HASH, NAMES
from features.feast_repo.archived import COLUMNS, attribute_column, schema_with
from features.identity import identity_of
from features.store.redis_client import RespClient
from features.transaction import Transaction, epoch_ms
from features.vector_layouts import Layout
from models.decision import Decision
from streams.archive.days import read_columns
from streams.archive.tables import DECISION_SCHEMA
from streams.contracts.decision import decode_decision
from streams.contracts.invalid_event import InvalidEvent
from streams.log.decision_index import decode_page, entries_in, lookups, page_key, parse_entry, row_of
from streams.log.feature_batch import FeatureBatch, FeatureBatchError, decode_batch
from streams.log.other_catalogues import stored_in
from streams.log.topics import DECISIONS, FEATURES
from streams.runtime.kafka.log_reader import end_of, log_reader, read_span, whole_log
from streams.runtime.settings import Settings

#: newest records of each partition of `decisions` that are looked through
NEWEST = 5_000
#: records of `features` that are looked through; the archive is asked in place of more
MAX_BATCHES = 20_000
#: clocks of broker and replica may differ by so much
CLOCKS_APART_MS = 5_000
_KAFKA_WITHIN_S = 10.0
_STORE_WITHIN_S = 5.0


@dataclass(frozen=True)
class Served:
    """A payment's fields and its features by name, None: unknown. ``source``: where they were found."""

    transaction: dict[str, Any]
    features: dict[str, float | None]
    source: Literal["log", "archive"]


@dataclass(frozen=True)
class DecidedPayment:
    """``decision``: the public JSON; from the archive, only the fields that it keeps. ``served``: None where nothing was found.

    ``partition``: of `transactions` and `decisions`; None for what only the archive holds.
    """

    decision: dict[str, Any]
    source: Literal["index", "log", "archive"]
    served: Served | None
    partition: int | None = None


def find_decision(
    settings: Settings, tenant: str, transaction_id: str, now_s: float
) -> DecidedPayment | None:
    """The decision of a tenant's transaction; None if nothing is known of it.

    Raises:
        StoreUnavailable, LedgerUnreachable: Redis or Kafka does not answer. PageError: what the index holds does not decode.
    """
    client = RespClient(settings.redis_address, _STORE_WITHIN_S)
    try:
        found = _indexed(client, identity_of(tenant, transaction_id), now_s)
        found = found or _newest(settings, tenant, transaction_id)
        if found is None:
            archived = _row(settings.archive_dir, DECISIONS.name, DECISION_SCHEMA, tenant, transaction_id)
            if archived is None:
                return None
            decision = _archived_decision(archived)
            return DecidedPayment(decision, "archive", _archived(settings, decision))
        decision, partition, source = found
        served = _logged(settings, client, decision, partition) or _archived(settings, decision)
        return DecidedPayment(decision, source, served, partition)
    finally:
        client.close()


_Found = tuple[dict[str, Any], int, Literal["index", "log"]]


def _indexed(client: RespClient, identity: str, now_s: float) -> _Found | None:
    entry = entries_in(client.call([lookups([identity], now_s)]), now_s)[0]
    if entry is None:
        return None
    place = parse_entry(entry)
    (stored,) = client.call([("GET", page_key(place.page))])
    if stored is None:
        return None
    indexed = row_of(decode_page(stored), place)
    return (
        msgspec.json.decode(indexed.decision, type=dict[str, Any]),
        int(place.page.partition(":")[0]),
        "index",
    )


def _newest(settings: Settings, tenant: str, transaction_id: str) -> _Found | None:
    first, end = whole_log(settings.kafka, [DECISIONS.name])
    name = DECISIONS.name
    start = {name: {p: max(first[name][p], last - NEWEST) for p, last in end[name].items()}}
    found: list[tuple[Any, Decision]] = []
    read_span(settings.kafka, start, end, lambda records: found.extend(decisions_of(records, tenant, transaction_id)))  # fmt: skip
    if not found:
        return None
    record, decision = found[-1]
    return msgspec.to_builtins(decision), int(record.partition()), "log"


def decisions_of(records: Iterable[Any], tenant: str, transaction_id: str) -> Iterator[tuple[Any, Decision]]:
    """The records of `decisions` about one transaction, with what they say. Of the others only the bytes are looked at."""
    id_bytes = msgspec.json.encode(transaction_id)
    for record in records:
        if id_bytes in (record.value() or b""):
            # who reads all decisions says which of them cannot be read
            with suppress(InvalidEvent):
                decision = decode_decision(record.value())
                if (decision.tenant, decision.transaction_id) == (tenant, transaction_id):
                    yield record, decision


def _logged(
    settings: Settings, client: RespClient, decision: dict[str, Any], partition: int
) -> Served | None:
    for _, batch, row in logged_rows(settings, decision, partition):
        return _served(batch, row, client)
    return None


def logged_rows(
    settings: Settings, decision: dict[str, Any], partition: int
) -> list[tuple[int, FeatureBatch, int]]:
    """The payment's rows on the log of `features`: (append time in ms since 1970, batch, row). Empty if they are gone from the log.

    The HTTP edge decides before the processor has read the payment, so no time of the decision bounds how late they come.
    """
    received_ms = epoch_ms(datetime.fromisoformat(decision["received_at"]))
    wanted = (decision["tenant"], decision["transaction_id"])
    found: list[tuple[int, FeatureBatch, int]] = []

    def look(records: list[Any]) -> None:
        for record in records:
            try:
                batch = decode_batch(record.value(), partition)
            except FeatureBatchError:
                continue
            named = zip(batch.columns.tenant, batch.columns.transaction_id, strict=True)
            found.extend(
                (record.timestamp()[1], batch, row) for row, name in enumerate(named) if name == wanted
            )

    read_since(settings.kafka, FEATURES.name, partition, received_ms - CLOCKS_APART_MS, MAX_BATCHES, look)
    return found


def read_since(
    bootstrap: str, topic: str, partition: int, time_ms: int, most: int, look: Callable[[list[Any]], None]
) -> None:
    """Pass at most ``most`` records of a partition that were appended at or after a time to ``look``.

    Raises:
        LedgerUnreachable: the broker does not answer.
    """
    end = end_of(bootstrap, [topic])[topic].get(partition)
    if end is None:
        return
    consumer = log_reader(bootstrap)
    try:
        asked = [TopicPartition(topic, partition, time_ms)]
        (found,) = consumer.offsets_for_times(asked, timeout=_KAFKA_WITHIN_S)
    finally:
        consumer.close()
    begin = found.offset if 0 <= found.offset <= end else end
    read_span(bootstrap, {topic: {partition: begin}}, {topic: {partition: min(end, begin + most)}}, look)


def _served(batch: FeatureBatch, row: int, client: RespClient) -> Served:
    (record,) = batch.take([row]).records()
    own = batch.catalogue == CATALOGUE_HASH
    layout: Layout | None = None if own else stored_in(client)(batch.catalogue)
    names = NAMES if own else layout.names if layout is not None else ()
    values = np.frombuffer(record.vector, "<f4").tolist()
    return Served(
        _fields(msgspec.to_builtins(record.transaction)),
        {name: None if value != value else value for name, value in zip(names, values, strict=False)}, "log",
    )  # fmt: skip


def _archived(settings: Settings, decision: dict[str, Any]) -> Served | None:
    day = str(decision["event_time"])[:10]
    row = _row(
        settings.archive_dir,
        FEATURES.name,
        schema_with(settings.declared),
        decision["tenant"],
        decision["transaction_id"],
        f"date={day}",
    )
    if row is None:
        return None
    other_names = {"channel": "channel_name", "mcc": "mcc_code", "event_time": "event_timestamp"}
    names = [name for name in Transaction.__struct_fields__ if name != "attributes"]
    fields = {name: row[other_names.get(name, name)] for name in names}
    fields["attributes"] = _archived_attributes(row, settings.declared) or None
    fields["event_time"] = fields["event_time"].isoformat()
    values = {name: row[column] for name, column in COLUMNS.items()}
    known = {name: None if value is None or value != value else value for name, value in values.items()}
    return Served(_fields(fields), known, "archive")


def _archived_attributes(row: dict[str, Any], attributes: Attributes) -> dict[str, str | int | float]:
    values = {
        name: row[attribute_column(name, declared.type)] for name, declared in attributes.declared.items()
    }
    whole = {
        name: int(value) for name, value in values.items() if isinstance(value, float) and value.is_integer()
    }
    return {name: value for name, value in (values | whole).items() if value is not None}


def _archived_decision(row: dict[str, Any]) -> dict[str, Any]:
    out = {
        name: row[name]
        for name in DECISION_SCHEMA.names
        if name not in ("partition", "offset", "event_timestamp", "propensity")
    }
    if row["propensity"] is not None:
        out["exploration"] = {"would_be": "decline", "propensity": row["propensity"]}
    reasons = msgspec.json.decode(row["reasons"] or "[]")
    times = {"event_time": row["event_timestamp"].isoformat(), "decided_at": row["decided_at"].isoformat()}
    return out | {"reasons": reasons} | times


def _row(
    archive: Path, topic: str, schema: pa.Schema, tenant: str, transaction_id: str, day: str = "date=*"
) -> dict[str, Any] | None:
    """The archived row of a transaction, newest day first."""
    for folder in sorted((archive / topic).glob(day), reverse=True):
        wanted = (pc.field("transaction_id") == transaction_id) & (pc.field("tenant") == tenant)
        table = read_columns(folder.glob("*.parquet"), schema, schema.names, wanted)
        if table.num_rows:
            row: dict[str, Any] = table.slice(0, 1).to_pylist()[0]
            return row
    return None


def _fields(transaction: dict[str, Any]) -> dict[str, Any]:
    """The fields that are set."""
    return {name: value for name, value in transaction.items() if value is not None}
