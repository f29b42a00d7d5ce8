"""The identities of the rows of an Arrow table. A module of its own, because importing Arrow is slow."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from features.identity import BETWEEN, DEFAULT_TENANT


def identity_column(table: pa.Table) -> pa.ChunkedArray:
    """The identities of a table's rows; a table without ``tenant``, or a row without one, is the default tenant's."""
    ids = table["transaction_id"]
    if "tenant" not in table.column_names:
        return ids
    tenants = pc.fill_null(table["tenant"].cast(pa.string()), DEFAULT_TENANT)
    other = pc.binary_join_element_wise(tenants, ids.cast(pa.string()), BETWEEN)
    return pc.if_else(pc.equal(tenants, DEFAULT_TENANT), ids.cast(pa.string()), other)
