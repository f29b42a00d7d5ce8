"""The columns of archived features. The archive writes them; Feast's offline store and the trainer read them."""

from __future__ import annotations

import pyarrow as pa

from features.attributes import Attributes, Kind
from features.catalogue import FEATURES

_MS = pa.timestamp("ms", tz="UTC")

#: folder in the archive; it has one ``date=YYYY-MM-DD`` folder per day of event time
FOLDER = "features"

#: feature -> its column; each version of an entry has its own column
COLUMNS = {feature.name: feature.column for feature in FEATURES}

#: ``event_timestamp`` is event time, ``created_timestamp`` the broker's append time; unknown features are NaN. Channel and
#: merchant category as text are ``channel_name`` and ``mcc_code``: the catalogue has features (numbers) called ``channel``
#: and ``mcc``. A file may lack columns that were added later; readers pass the schema.
SCHEMA = pa.schema(
    [
        ("transaction_id", pa.string()), ("card_id", pa.string()), ("merchant_id", pa.string()), ("tenant", pa.string()),
        ("amount_minor", pa.int64()), ("currency", pa.string()), ("channel_name", pa.string()), ("country", pa.string()),
        ("customer_id", pa.string()), ("device_id", pa.string()), ("ip", pa.string()), ("mcc_code", pa.string()),
        ("latitude", pa.float64()), ("longitude", pa.float64()),
        ("event_timestamp", _MS), ("created_timestamp", _MS), ("partition", pa.int32()), ("offset", pa.int64()),
        ("missing", pa.int32()), *((column, pa.float32()) for column in COLUMNS.values()),
    ]
)  # fmt: skip


#: type of an archived attribute by its kind
ATTRIBUTE_TYPES: dict[Kind, pa.DataType] = {"number": pa.float64(), "text": pa.string()}


def attribute_column(name: str, kind: Kind) -> str:
    """The column of an attribute: each kind has its own, because an attribute may be declared anew with another."""
    return f"{kind}_{name}"


def schema_with(attributes: Attributes) -> pa.Schema:
    """``SCHEMA``, and behind it a column for each attribute that a stack declares."""
    out = SCHEMA
    for name, found in attributes.declared.items():
        out = out.append(pa.field(attribute_column(name, found.type), ATTRIBUTE_TYPES[found.type]))
    return out
