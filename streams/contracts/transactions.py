"""Transactions as producers send them. Parsing is validation: a value that does not fit raises ``InvalidEvent``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

from features.transaction import EARLIEST_EVENT, LATEST_EVENT, Transaction
from streams.contracts.card_numbers import find_card_number
from streams.contracts.invalid_event import EARLIEST_MS, LATEST_MS, UNPRINTABLE, InvalidEvent, decode_json

#: a value longer than this is refused before it is parsed
MAX_TRANSACTION_BYTES = 16_384

_transaction_decoder = msgspec.json.Decoder(Transaction)

# one in which there is nothing but what the contract knows; by name, look and equality the same
_known_decoder = msgspec.json.Decoder(
    msgspec.defstruct("Transaction", [], bases=(Transaction,), frozen=True, forbid_unknown_fields=True)
)

_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

_KNOWN = frozenset(field.name for field in msgspec.structs.fields(Transaction))


def parse_transaction(raw: bytes | None) -> Transaction:
    """Parse and check one transaction.

    Raises:
        InvalidEvent: with reason ``empty``, ``too_large``, ``not_utf8``, ``not_json``, ``field``, ``unprintable``,
            ``event_time_range`` or ``card_number``.
    """
    if not raw:
        raise InvalidEvent("empty", "", "the record has no value")
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise InvalidEvent(
            "too_large", "", f"the value has {len(raw)} bytes, more than {MAX_TRANSACTION_BYTES}"
        )
    tx: Transaction = decode_json(_transaction_decoder, raw)
    return tx if _looks_fine(raw, tx) else check_transaction(tx)


class Together(NamedTuple):
    """Transactions that were parsed in one go; ``plain``: there is no field in them that the contract does not know."""

    transactions: list[Transaction]
    plain: bool


def parse_together(values: Sequence[bytes | None]) -> Together | None:
    """As ``parse_transaction`` for each, at a third of the cost; None where one of them is refused, or needs the closer look.

    Each is to be one line, from brace to brace. No JSON value goes on from ``}`` over the end of a line to ``{``, so that every
    line holds whole values, and as many values as lines means one on each.
    """
    if not all(values):
        return None
    lines: Sequence[bytes] = values  # type: ignore[assignment]
    joined = b"\n".join(lines)
    if not (
        max(map(len, lines), default=0) <= MAX_TRANSACTION_BYTES
        and _one_object_a_line(joined, len(lines))
        and _nothing_to_refuse(joined)
    ):
        return None
    # a field that nobody knows has all of them parsed again
    for decoder in (_known_decoder, _transaction_decoder):
        try:
            found = cast(list[Transaction], decoder.decode_lines(joined))
        except (msgspec.DecodeError, RecursionError):
            continue
        return Together(found, decoder is _known_decoder) if _fit(found, len(lines)) else None
    return None


def _fit(found: list[Transaction], lines: int) -> bool:
    """Whether there is one on each line, with what their types do not say."""
    times = [tx.event_time for tx in found]
    return (
        len(found) == lines
        and min(times) >= EARLIEST_EVENT
        and max(times) < LATEST_EVENT
        and all(currency.isalpha() and currency.isupper() for currency in {tx.currency for tx in found})
    )


def _one_object_a_line(joined: bytes, lines: int) -> bool:
    """Whether there are so many lines, each from brace to brace."""
    text = np.frombuffer(joined, dtype=np.uint8)
    breaks = np.flatnonzero(text == ord("\n"))
    return (
        len(breaks) == lines - 1
        and joined[:1] + joined[-1:] == b"{}"
        and bool((text[breaks - 1] == ord("}")).all() and (text[breaks + 1] == ord("{")).all())
    )


def _marks(raw: bytes) -> int:
    """How many quotation marks there are; a fifth of what ``bytes.count`` takes where every tenth byte is one."""
    return int(np.count_nonzero(np.frombuffer(raw, dtype=np.uint8) == ord('"')))


_ANY_DIGIT = bytes.maketrans(b"0123456789", b"0" * 10)


def _nothing_to_refuse(raw: bytes) -> bool:
    """ASCII without escapes, so identifiers are as they stand in the bytes; no twelve digits follow each other even where
    what stands between those of a printed card number is left out.
    """
    return (
        raw.isascii()
        and b"\\" not in raw
        and b"\x7f" not in raw
        and b"000000000000" not in raw.translate(_ANY_DIGIT, b" .-")
    )


def _looks_fine(raw: bytes, tx: Transaction) -> bool:
    """Whether nothing that ``check_transaction`` refuses can be in a record; a quarter of the cost, enough for nearly all."""
    return (
        _nothing_to_refuse(raw)
        and tx.currency.isalpha()
        and tx.currency.isupper()
        and EARLIEST_EVENT <= tx.event_time < LATEST_EVENT
    )


def check_transaction(tx: Transaction) -> Transaction:
    """The checks that types cannot say: printable identifiers, no card numbers, sane time.

    Raises:
        InvalidEvent: see ``parse_transaction``.
    """
    texts = (tx.transaction_id, tx.card_id, tx.merchant_id, tx.tenant, tx.currency, *_optional(tx))
    joined = "".join(texts)
    if not (joined.isascii() and joined.isprintable()) and UNPRINTABLE.search(joined):
        raise InvalidEvent(
            "unprintable", _which(tx, UNPRINTABLE.search), "an identifier holds unprintable characters"
        )
    # a card number has twelve digits at least; three blanks keep those of different fields apart
    if find_card_number("\x20\x20\x20".join([text for text in texts if len(text) >= 12])):
        field = _which(tx, find_card_number)
        raise InvalidEvent("card_number", field, f"{field} holds a card number; send a token in its place")
    if not (tx.currency.isascii() and tx.currency.isalpha() and tx.currency.isupper()):
        raise InvalidEvent("field", "currency", "currency must be an ISO 4217 code such as EUR")
    if not EARLIEST_MS <= tx.event_ms < LATEST_MS:
        raise InvalidEvent(
            "event_time_range",
            "event_time",
            f"event_time {tx.event_time.isoformat()} is not between 2000 and 2100",
        )
    return tx


def unknown_fields(raw: bytes, tx: Transaction | None = None) -> list[str]:
    """Names in a transaction that the contract does not know: ignored, and counted by the caller.

    Args:
        tx: what ``raw`` was parsed to, where that is known: it saves the exact look.

    Raises:
        InvalidEvent: ``not_utf8``, when such a name is no text; the typed parser passes over it.
    """
    if tx is not None and _marks(raw) <= _quotes(raw, tx):
        return []
    try:
        return [name for name in _object_decoder.decode(raw) if name not in _KNOWN]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent("not_utf8", "", "the name of an unknown field is not UTF-8") from None


def _quotes(raw: bytes, tx: Transaction) -> int:
    """How many quotation marks the known fields of a record have: one more, and the exact look is needed.

    ``"tenant":`` is no value, so that nothing can stand for a field that is not there.
    """
    # the required ones: six names and five texts
    marks = 22 + 4 * len(_optional(tx)) + 2 * ((tx.latitude is not None) + (tx.longitude is not None))
    marks += 4 * (raw.count(b'"tenant":') + raw.count(b'"tenant" :'))
    return marks + (2 * (raw.count(b":null") + raw.count(b": null")) if b"null" in raw else 0)


def _optional(tx: Transaction) -> list[str]:
    """The texts of a transaction that need not be there, of those that are."""
    return [v for v in (tx.customer_id, tx.device_id, tx.ip, tx.mcc, tx.channel, tx.country) if v]


def _which(tx: Transaction, search: Any) -> str:
    for name in (
        "card_id",
        "transaction_id",
        "merchant_id",
        "customer_id",
        "device_id",
        "ip",
        "mcc",
        "tenant",
        "country",
    ):
        value = getattr(tx, name)
        if value and search(value):
            return name
    return "transaction_id"
