"""Encode columns of transactions and labels as the JSON values of their topics, without a Python object per field.

Arrow joins the text column by column: about 2 microseconds a row, against 10 for one dict per row.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import attribute_named
from features.identity import DEFAULT_TENANT

#: order of the fields in the JSON; event_time comes first so that a live source can write the present time instead
TRANSACTION_FIELDS = (
    "transaction_id", "card_id", "merchant_id", "amount_minor", "currency", "customer_id", "device_id", "ip", "mcc",
    "channel", "country", "latitude", "longitude", "tenant",
)  # fmt: skip
LIVE_HEAD = b'{"event_time":"'


def encode_transactions(table: pa.Table) -> list[bytes]:
    """One JSON value per row of a history table. Optional fields whose column is missing or all null are left out;
    columns called ``attributes.NAME`` become ``attributes``.

    Raises:
        KeyError: a required column is missing from the table.
    """
    head = pa.scalar(LIVE_HEAD.decode())
    parts = [head, rfc3339(table["event_time"]), *_tail_parts(table)]
    return _join(parts)


def encode_live_tails(table: pa.Table) -> list[bytes]:
    """Everything after the event time; a whole value is ``LIVE_HEAD + b"2026-11-21T10:15:30.123Z" + tail``."""
    return _join(_tail_parts(table))


def encode_labels(table: pa.Table, source: str = "chargeback") -> list[bytes]:
    """One JSON label per row; ``label`` and ``label_time`` must be set. The source is ``label_source``, else ``source``."""
    by = table["label_source"] if "label_source" in table.column_names else pa.scalar(source)
    parts: list[pa.ChunkedArray | pa.Scalar] = [
        pa.scalar('{"transaction_id":'), _quoted(table["transaction_id"]),
        pa.scalar(',"label":"'), table["label"].cast(pa.string()),
        pa.scalar('","label_time":"'), rfc3339(table["label_time"]),
        pa.scalar('","source":"'), by,
        pa.scalar('","card_id":'), _quoted(table["card_id"]),
        pa.scalar(',"merchant_id":'), _quoted(table["merchant_id"]),
        pa.scalar(',"event_time":"'), rfc3339(table["event_time"]), pa.scalar('"'),
    ]  # fmt: skip
    if "tenant" in table.column_names:
        parts += [pa.scalar(',"tenant":'), _quoted(pc.fill_null(table["tenant"], DEFAULT_TENANT))]
    parts.append(pa.scalar("}"))
    return _join(parts)


def encode_keys(column: pa.ChunkedArray) -> list[bytes | None]:
    """Record keys: the bytes of each identifier's text."""
    keys: list[bytes | None] = column.cast(pa.binary()).to_pylist()
    return keys


def rfc3339(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """``timestamp[ms, UTC]`` as ``2026-11-21T10:15:30.123Z``."""
    return pc.binary_replace_slice(times.cast(pa.timestamp("ms", tz="UTC")).cast(pa.string()), 10, 11, "T")


def _tail_parts(table: pa.Table) -> list[pa.ChunkedArray | pa.Scalar]:
    parts: list[pa.ChunkedArray | pa.Scalar] = []
    between = '","'
    for name in TRANSACTION_FIELDS:
        if name not in table.column_names and name not in TRANSACTION_FIELDS[:5]:
            continue
        column = table[name]
        if column.null_count == len(column) > 0:
            continue
        parts += [pa.scalar(f'{between}{name}":'), _json(column)]
        between = ',"'
    parts += _attribute_parts(table)
    parts.append(pa.scalar("}"))
    return parts


def _attribute_parts(table: pa.Table) -> list[pa.ChunkedArray | pa.Scalar]:
    """Columns called ``attributes.NAME`` as one object; an empty value in it is null."""
    parts: list[pa.ChunkedArray | pa.Scalar] = []
    between = ',"attributes":{"'
    for column in table.column_names:
        name = attribute_named(column)
        if name is not None:
            parts += [pa.scalar(f'{between}{name}":'), _json(table[column])]
            between = ',"'
    return [*parts, pa.scalar("}")] if parts else []


def _json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):
        finite = pc.if_else(pc.is_finite(column), column, None)
        return pc.coalesce(finite.cast(pa.string()), pa.scalar("null"))
    if pa.types.is_integer(column.type):
        return pc.coalesce(column.cast(pa.string()), pa.scalar("null"))
    return pc.coalesce(_quoted(column), pa.scalar("null"))


def _quoted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = column.cast(pa.string())
    if pc.any(pc.match_substring_regex(text, r'["\\\x00-\x1f]')).as_py():
        text = pc.replace_substring(text, "\\", "\\\\")
        text = pc.replace_substring(text, '"', '\\"')
        for code in range(0x20):
            text = pc.replace_substring(text, chr(code), f"\\u{code:04x}")
    return pc.binary_join_element_wise('"', text, '"', "")


def _join(parts: Sequence[pa.ChunkedArray | pa.Scalar]) -> list[bytes]:
    columns = [part.cast(pa.string()) if isinstance(part, pa.ChunkedArray) else part for part in parts]
    joined: list[bytes] = pc.binary_join_element_wise(*columns, "").cast(pa.binary()).to_pylist()
    return joined
