"""Identifiers of public events: their canonical form (``features.identifiers``), and no card number in them."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from features.identifiers import canonical_id
from features.identity import DEFAULT_TENANT, identity_of
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.contracts.text.card_numbers import find_card_number


def canonical_field(name: str, value: str) -> str:
    """The canonical form of an identifier in the field ``name``.

    Raises:
        InvalidEvent: ``unprintable`` or ``field``.
    """
    try:
        return canonical_id(value)
    except ValueError as error:
        reason = "field" if value.isprintable() else "unprintable"
        raise InvalidEvent(reason, name, f"{name} {error}") from None


class _Identified(msgspec.Struct):
    transaction_id: str
    tenant: str | None = None


_identified = msgspec.json.Decoder(_Identified)


def identity_in(value: bytes | None, tenants: Tenants = ANY_TENANT) -> str | None:
    """The identity in a record of `transactions`, as its decision names it: in canonical form, whatever form was sent, and of the tenant for
    which it counts. None if there is none to read. What else the record holds is not looked at."""
    try:
        found = _identified.decode(value or b"")
    except UNREADABLE:
        return None
    tenant = _canonical_or_same(found.tenant or DEFAULT_TENANT)
    # of an unknown tenant without `unknown_tenant` the record is refused
    with suppress(InvalidEvent):
        tenant = tenants.admitted(tenant)
    return identity_of(tenant, _canonical_or_same(found.transaction_id))


def _canonical_or_same(text: str) -> str:
    try:
        return canonical_id(text)
    except ValueError:
        # its record is refused
        return text


def refuse_card_number(name: str, value: str) -> None:
    """Raises: InvalidEvent ``card_number``."""
    if find_card_number(value):
        raise InvalidEvent("card_number", name, f"{name} holds a card number; send a token in its place")


def checked_identifier(name: str, value: str) -> str:
    """An identifier from outside, in canonical form: what a look-up by it must use to find what was stored.

    Raises:
        InvalidEvent: ``unprintable``, ``field`` or ``card_number``.
    """
    canonical = canonical_field(name, value)
    refuse_card_number(name, canonical)
    return canonical
