"""The JSON Schema of the public events, as published under ``streams/contracts/schemas/``."""

from __future__ import annotations

from typing import Any

import msgspec

from features.transaction import Transaction
from models.decision import Decision
from streams.contracts.label import Label
from streams.contracts.outcome import Outcome


def schema() -> dict[str, Any]:
    """JSON Schema of the public events."""
    _, components = msgspec.json.schema_components(
        (Transaction, Label, Decision, Outcome), ref_template="#/$defs/{name}"
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": components}
