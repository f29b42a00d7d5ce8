"""Identifiers of public events: their canonical form (``features.identifiers``), and no card number in them."""

from __future__ import annotations

from features.identifiers import canonical_id
from streams.contracts.invalid_event import InvalidEvent
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
