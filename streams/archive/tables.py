"""Converts records of `features`, `decisions` and `outcomes` to Arrow tables, column by column; one column per field.

Times are timestamp[ms, UTC]. ``event_timestamp`` is the transaction's event time and ``created_timestamp`` the broker's
append time, which is what Feast joins by. Unknown features stay NaN, absent fields are null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import NO_ATTRIBUTES, Attributes, aligned_values
from features.catalogue import CATALOGUE_HASH, WIDTH
from features.feast_repo.archived import ATTRIBUTE_TYPES, schema_with
from features.feast_repo.archived import SCHEMA as FEATURE_SCHEMA
from features.transaction import Instant, epoch_ms
from streams.contracts.invalid_event import UNREADABLE
from streams.log.feature_batch import (
    FeatureBatch,
    FeatureBatchError,
    decode_batch,
)
from streams.log.offsets.source_offsets import Seen, SourceOffsets, unseen
from streams.log.other_catalogues import Layouts, own_block
from streams.log.outcome_source import source_of
from streams.log.topics import DECISIONS, FEATURES, LABELS, OUTCOMES

_MS, _US = pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="UTC")

DECISION_SCHEMA = pa.schema(
    [
        ("transaction_id", pa.string()), ("decision", pa.string()), ("status", pa.string()), ("score", pa.float64()),
        ("model_version", pa.string()), ("policy_version", pa.string()), ("arm", pa.string()),
        ("latency_ms", pa.float64()), ("reasons", pa.string()), ("event_timestamp", _MS), ("decided_at", _MS),
        ("card_id", pa.string()), ("tenant", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
        # of exploration; null unless the policy declines and the tenant explores
        ("propensity", pa.float64()),
    ]
)  # fmt: skip

OUTCOME_SCHEMA = pa.schema(
    [
        ("transaction_id", pa.string()), ("label", pa.string()), ("label_time", _MS), ("source", pa.string()),
        ("decision", pa.string()), ("status", pa.string()), ("score", pa.float64()), ("model_version", pa.string()),
        ("merchant_id", pa.string()), ("card_id", pa.string()), ("event_timestamp", _MS),
        ("partition", pa.int32()), ("offset", pa.int64()), ("tenant", pa.string()),
    ]
)  # fmt: skip

SCHEMAS = {FEATURES.name: FEATURE_SCHEMA, DECISIONS.name: DECISION_SCHEMA, OUTCOMES.name: OUTCOME_SCHEMA}

#: topics of the records that complete an outcome
_OUTCOME_SOURCES = (LABELS.name, DECISIONS.name)

#: time formats that Arrow parses as msgspec does; other times are parsed one by one
_PLAIN_TIME = r"^[2-9]\d{3}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)$"

#: called with a Kafka record that cannot be read and the reason in words
Refuse = Callable[[Any, str], None]


class _Drawn(msgspec.Struct, gc=False):
    propensity: float


class _Kept(msgspec.Struct, gc=False, kw_only=True):
    """A decision's archived fields except times. Typed, so that a bad value is refused with its record and not at the flush."""

    transaction_id: str
    decision: str
    status: str
    score: float | None
    model_version: str
    policy_version: str
    arm: str
    latency_ms: float
    reasons: msgspec.Raw
    card_id: str
    tenant: str
    exploration: _Drawn | None = None


class _Decision(_Kept, gc=False):
    event_time: Instant
    decided_at: Instant


class _Spelt(_Kept, gc=False):
    """With times as text: Arrow parses a column of them for a tenth of the cost of single datetimes."""

    event_time: str
    decided_at: str


class _Outcome(msgspec.Struct):
    decision: _Decision
    label: str
    label_time: Instant
    source: str
    merchant_id: str


_spelt_decoder = msgspec.json.Decoder(_Spelt)
_decision_decoder = msgspec.json.Decoder(_Decision)
_outcome_decoder = msgspec.json.Decoder(_Outcome)


class Arrived(NamedTuple):
    """A record of `features` with its batch, or with the error of decoding it."""

    record: Any
    batch: FeatureBatch | FeatureBatchError

    @property
    def rows(self) -> int:
        return 1 if isinstance(self.batch, FeatureBatchError) else len(self.batch)


def arrived(record: Any) -> Arrived:
    """A Kafka record of `features`, decoded."""
    try:
        return Arrived(record, decode_batch(record.value, record.partition))
    except FeatureBatchError as error:
        return Arrived(record, error)


def feature_table(
    found: Sequence[Arrived], refuse: Refuse, seen: SourceOffsets[int], layouts: Layouts,
    attributes: Attributes = NO_ATTRIBUTES,
) -> pa.Table:  # fmt: skip
    """Records of `features` as a table, one row per transaction, with a column for each of ``attributes``. Skips rows in ``seen`` (by
    partition) and updates it.

    Vectors of another catalogue are aligned by name, with NaN for missing entries; without a known layout they are refused.
    """
    kept: list[tuple[int, FeatureBatch, npt.NDArray[np.float32]]] = []
    for record, batch in found:
        if isinstance(batch, FeatureBatchError):
            refuse(record, f"{record.topic} record does not parse: {batch}")
            continue
        vectors, known = own_block(batch.catalogue, batch.vectors, layouts)
        if known is None:
            refuse(record, f"features of catalogue {batch.catalogue}, this archive keeps {CATALOGUE_HASH}")
            continue
        rows = unseen(batch, seen)
        if rows is not None:
            kept.append((record.timestamp, rows, vectors[len(batch) - len(rows) :]))
    if not kept:
        return schema_with(attributes).empty_table()
    return _feature_columns(kept, attributes)


def _feature_columns(
    kept: list[tuple[int, FeatureBatch, npt.NDArray[np.float32]]], attributes: Attributes
) -> pa.Table:
    appended, batches, blocks = zip(*kept, strict=True)
    sizes = [len(batch) for batch in batches]
    partitions = np.array([batch.partition for batch in batches], dtype=np.int32)
    table = {
        "channel_name": _joined(batch.columns.channel for batch in batches),
        "mcc_code": _joined(batch.columns.mcc for batch in batches),
        "event_timestamp": _joined(batch.event_ms for batch in batches),
        "created_timestamp": np.repeat(np.array(appended, dtype="M8[ms]"), sizes),
        "partition": np.repeat(partitions, sizes),
    }
    kept_names = FEATURE_SCHEMA.names[:-WIDTH]
    for name in kept_names:
        if name not in table:
            table[name] = _joined(getattr(batch.columns, name) for batch in batches)
    # column-major, so that each column is contiguous
    vectors = np.empty((sum(sizes), WIDTH), dtype=np.float32, order="F")
    np.concatenate(blocks, out=vectors)
    return pa.Table.from_arrays(
        [
            *(pa.array(table[name], FEATURE_SCHEMA.field(name).type) for name in kept_names),
            *(pa.array(vectors[:, column]) for column in range(WIDTH)),
            *_attribute_columns(batches, attributes),
        ],
        schema=schema_with(attributes),
    )


def _attribute_columns(batches: Sequence[FeatureBatch], attributes: Attributes) -> list[pa.Array]:
    """A column for each declared attribute. A value of another type, from before it was declared anew, is null."""
    if not attributes.declared:
        return []
    rows = _joined(batch.columns.attributes or [None] * len(batch) for batch in batches)
    kinds = {name: ATTRIBUTE_TYPES[declared.type] for name, declared in attributes.declared.items()}
    aligned = aligned_values(rows) if rows and all(rows) else None
    try:
        if aligned is not None:
            none = [None] * len(rows)
            return [pa.array(aligned.get(name, none), kind) for name, kind in kinds.items()]
        columns: list[pa.Array] = pa.array(rows, pa.struct(list(kinds.items()))).flatten()
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # a value of another type
        texts = {name for name, declared in attributes.declared.items() if declared.type == "text"}
        columns = [
            pa.array([_of_type((row or {}).get(name), name in texts) for row in rows], kind)
            for name, kind in kinds.items()
        ]
    return columns


def _of_type(value: Any, is_text: bool) -> Any:
    return value if (type(value) is str) is is_text else None


def _joined(columns: Iterable[Iterable[Any]]) -> Any:
    return list(chain.from_iterable(columns))


def decision_table(records: list[Any], refuse: Refuse) -> pa.Table:
    """Records of `decisions` as a table; reasons stay JSON text."""
    refused: list[tuple[Any, str]] = []
    pairs = _decoded(records, _spelt_decoder.decode, lambda *what: refused.append(what))
    try:
        table = _decision_columns(pairs, _Spelt, _spelt_times)
    except pa.ArrowInvalid:
        # Arrow cannot parse one of the times or texts: decode all again one by one, to refuse only invalid records
        pairs = _decoded(records, _decode_decision, refuse)
        return _decision_columns(pairs, _Decision, _instants)
    for record, reason in refused:
        refuse(record, reason)
    return table


def _decision_columns(
    pairs: list[tuple[Any, Any]], kind: type[msgspec.Struct], times: Callable[[Iterable[Any]], pa.Array]
) -> pa.Table:
    """Raises: pa.ArrowInvalid for an invalid text, or a time that ``times`` cannot parse."""
    fields = _fields(kind, [decision for _, decision in pairs])
    columns = [
        *(pa.array(fields[name], pa.string()) for name in ("transaction_id", "decision", "status")),
        pa.array(fields["score"], pa.float64()),
        *(pa.array(fields[name], pa.string()) for name in ("model_version", "policy_version", "arm")),
        pa.array(fields["latency_ms"], pa.float64()),
        # msgspec does not check the characters of raw values; the cast does
        pa.array([bytes(reasons) for reasons in fields["reasons"]], pa.binary()).cast(pa.string()),
        times(fields["event_time"]),
        times(fields["decided_at"]),
        *(pa.array(fields[name], pa.string()) for name in ("card_id", "tenant")),
        *_places([record for record, _ in pairs]),
        pa.array([drawn and drawn.propensity for drawn in fields["exploration"]], pa.float64()),
    ]
    return pa.Table.from_arrays(columns, schema=DECISION_SCHEMA)


def outcome_table(
    records: list[Any], refuse: Refuse, sources: Mapping[str, Seen]
) -> tuple[pa.Table, dict[str, Seen]]:
    """Records of one partition of `outcomes` as a table, and the updated source offsets, by source topic.

    Columns: the label, and the fields of its decision that monitors and trainer use. An outcome whose source is in ``sources`` is a
    duplicate (after a crash of the labels worker) and is skipped.
    """
    pairs, seen = _first_times(_decoded(records, _outcome_decoder.decode, refuse), sources)
    outcomes = [outcome for _, outcome in pairs]
    decisions = [outcome.decision for outcome in outcomes]
    columns = [
        *_texts(decisions, "transaction_id"),
        *_texts(outcomes, "label"),
        _instants([o.label_time for o in outcomes]),
        *_texts(outcomes, "source"),
        *_texts(decisions, "decision", "status"),
        pa.array([d.score for d in decisions], pa.float64()),
        *_texts(decisions, "model_version"),
        *_texts(outcomes, "merchant_id"),
        *_texts(decisions, "card_id"),
        _instants([d.event_time for d in decisions]),
        *_places([record for record, _ in pairs]),
        *_texts(decisions, "tenant"),
    ]
    return pa.Table.from_arrays(columns, schema=OUTCOME_SCHEMA), seen


def _first_times(
    pairs: list[tuple[Any, Any]], sources: Mapping[str, Seen]
) -> tuple[list[tuple[Any, Any]], dict[str, Seen]]:
    """Outcomes whose source was not seen, or that have no source."""
    seen = dict(sources)
    kept = []
    for record, outcome in pairs:
        source = source_of(record.headers)
        if source and source.topic in _OUTCOME_SOURCES and source.partition == record.partition:
            before = seen.get(source.topic, Seen())
            if source.offset in before:
                continue
            seen[source.topic] = before.with_offset(source.offset)
        kept.append((record, outcome))
    return kept, seen


def _decode_decision(raw: bytes) -> _Decision:
    decision: _Decision = _decision_decoder.decode(raw)
    # msgspec does not check the characters of raw values; otherwise Arrow would fail at the flush
    bytes(decision.reasons).decode()
    return decision


def _decoded(records: list[Any], decode: Callable[[bytes], Any], refuse: Refuse) -> list[tuple[Any, Any]]:
    out = []
    for record in records:
        try:
            out.append((record, decode(record.value or b"")))
        except UNREADABLE as error:
            refuse(record, f"{record.topic} record does not parse: {error}")
    return out


def _fields(kind: type[msgspec.Struct], rows: list[Any]) -> dict[str, Any]:
    """The fields of many structs as columns, at a third of the cost of single attribute reads."""
    names = kind.__struct_fields__
    columns = zip(*map(msgspec.structs.astuple, rows), strict=True) if rows else ([] for _ in names)
    return dict(zip(names, columns, strict=True))


def _texts(rows: list[Any], *names: str) -> list[pa.Array]:
    return [pa.array([getattr(row, name) for row in rows], pa.string()) for name in names]


def _instants(moments: Iterable[datetime]) -> pa.Array:
    return pa.array(np.array([epoch_ms(moment) for moment in moments], dtype=np.int64)).cast(_MS)


def _spelt_times(texts: Iterable[str]) -> pa.Array:
    """Raises: pa.ArrowInvalid for a time not in the usual RFC 3339 format, before 2000, or finer than microseconds."""
    spelt = pa.array(texts, pa.string())
    if not pc.all(pc.match_substring_regex(spelt, _PLAIN_TIME), min_count=0).as_py():
        raise pa.ArrowInvalid("a time in another format")
    return spelt.cast(_US).cast(_MS, safe=False)


def _places(records: list[Any]) -> list[pa.Array]:
    return [
        pa.array(np.array([record.partition for record in records], dtype=np.int32)),
        pa.array(np.array([record.offset for record in records], dtype=np.int64)),
    ]
