"""A label: whether a transaction was fraud or legitimate. Parsing validates."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from features.identity import DEFAULT_TENANT, identity_of
from features.transaction import Identifier, Instant, epoch_ms
from streams.contracts.invalid_event import (
    EARLIEST_MS,
    LATEST_MS,
    InvalidEvent,
    check_not_ahead,
)
from streams.contracts.tenants import Tenants
from streams.contracts.text.identifiers import checked_identifier
from streams.contracts.text.repeated_fields import refuse_repeated_fields
from streams.contracts.text.unusual_forms import decode_event
from streams.contracts.transaction_parsing import MAX_TRANSACTION_BYTES


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a transaction was fraud. ``event_time`` is the transaction's; ``label_time`` is when the label was made."""

    transaction_id: Identifier
    label: Literal["fraud", "legit"]
    label_time: Instant
    source: Literal["chargeback", "analyst", "customer"]
    card_id: Identifier
    merchant_id: Identifier
    event_time: Instant
    #: the transaction's
    tenant: Identifier = DEFAULT_TENANT

    @property
    def identity(self) -> str:
        """Of the transaction that it is about."""
        return identity_of(self.tenant, self.transaction_id)


_IDENTIFIERS = ("transaction_id", "card_id", "merchant_id", "tenant")
_label_decoder = msgspec.json.Decoder(Label)


#: greatest difference between the clock of whoever makes a label and ours
CLOCKS_APART_MS = 300_000


def check_known_by(label: Label, now_ms: int) -> None:
    """Refuse a label that was made after now: the newest holds, so one dated years ahead would hold for ever.

    Raises:
        InvalidEvent: ``label_time_ahead`` or ``event_time_ahead``.
    """
    for name in ("label_time", "event_time"):
        moment_ms = epoch_ms(getattr(label, name))
        if moment_ms > now_ms + CLOCKS_APART_MS:
            ahead_s = (moment_ms - now_ms) / 1000
            raise InvalidEvent(f"{name}_ahead", name, f"{name} is {ahead_s:,.0f} seconds in the future")


def of_known_tenant(label: Label, tenants: Tenants) -> Label:
    """The label for the tenant for which it counts.

    Raises:
        InvalidEvent: ``tenant``, it is unknown.
    """
    tenant = tenants.admitted(label.tenant)
    return label if tenant == label.tenant else replace(label, tenant=tenant)


def parse_label(raw: bytes | None) -> Label:
    """Parse and check one label.

    Raises:
        InvalidEvent: the same reasons as ``parse_transaction``, and ``event_time_ahead``.
    """
    if not raw:
        raise InvalidEvent("empty", "", "the record has no value")
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise InvalidEvent(
            "too_large", "", f"the value has {len(raw)} bytes, more than {MAX_TRANSACTION_BYTES}"
        )
    label: Label = decode_event(_label_decoder, raw, ("tenant",), ("event_time", "label_time"))
    refuse_repeated_fields(raw)
    identifiers = {name: checked_identifier(name, getattr(label, name)) for name in _IDENTIFIERS}
    label = replace(label, **identifiers)
    for name in ("event_time", "label_time"):
        if not EARLIEST_MS <= epoch_ms(getattr(label, name)) < LATEST_MS:
            raise InvalidEvent("event_time_range", name, f"{name} is not between 2000 and 2100")
    check_not_ahead(epoch_ms(label.event_time), epoch_ms(label.label_time))
    return label
