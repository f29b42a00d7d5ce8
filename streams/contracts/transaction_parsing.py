"""Transactions as producers send them. Parsing validates: a value that breaks the contract raises ``InvalidEvent``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from socket import AF_INET, inet_pton
from typing import NamedTuple, cast

import msgspec
import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from features.currencies import CURRENCIES
from features.identifiers import canonical_ip, is_canonical_ipv4
from features.transaction import EARLIEST_EVENT, LATEST_EVENT, Transaction
from streams.contracts.attribute_values import Fitted, unusual_rows, with_fitting_attributes
from streams.contracts.invalid_event import EARLIEST_MS, LATEST_MS, UNREADABLE, InvalidEvent
from streams.contracts.tenants import Tenants
from streams.contracts.text.card_numbers import MIN_DIGITS, find_card_number, may_hold_card_number
from streams.contracts.text.identifiers import canonical_field, refuse_card_number
from streams.contracts.text.inner_objects import inner_objects, outside_of
from streams.contracts.text.repeated_fields import (
    lines_repeat_a_field,
    refuse_repeated_fields,
    repeats_a_field,
)
from streams.contracts.text.unusual_forms import decode_event

#: a longer value is refused before it is parsed
MAX_TRANSACTION_BYTES = 16_384

_transaction_decoder = msgspec.json.Decoder(Transaction)

# refuses unknown fields; its instances have the name, fields and equality of Transaction
_known_decoder = msgspec.json.Decoder(
    msgspec.defstruct("Transaction", [], bases=(Transaction,), frozen=True, forbid_unknown_fields=True)
)

_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

_KNOWN = frozenset(field.name for field in msgspec.structs.fields(Transaction))
#: optional fields without a value where they are null or an empty text
_OPTIONAL = frozenset({"customer_id", "device_id", "ip", "mcc", "channel", "country", "tenant"})
_TIMES = frozenset({"event_time"})


def parse_transaction(raw: bytes | None) -> Transaction:
    """Parse and check one transaction.

    Raises:
        InvalidEvent: with reason ``empty``, ``too_large``, ``not_utf8``, ``not_json``, ``field``, ``unprintable``, ``ip``,
            ``event_time_range``, ``repeated_field`` or ``card_number``.
    """
    if not raw:
        raise InvalidEvent("empty", "", "the record has no value")
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise InvalidEvent(
            "too_large", "", f"the value has {len(raw)} bytes, more than {MAX_TRANSACTION_BYTES}"
        )
    tx: Transaction = decode_event(_transaction_decoder, raw, _OPTIONAL, _TIMES)
    refuse_repeated_fields(raw)
    return tx if _looks_fine(raw, tx) else check_transaction(tx)


class Together(NamedTuple):
    """Transactions parsed in one call; ``plain``: none of them has a field that the contract does not know."""

    transactions: list[Transaction]
    plain: bool


def parse_together(values: Sequence[bytes | None]) -> Together | None:
    """``parse_transaction`` of each value, at a third of the cost. None when one is refused or needs the full checks.

    Each value must be one line that begins with ``{`` and ends with ``}``. No JSON value continues over a line break between
    ``}`` and ``{``, so every line holds whole values; as many values as lines means one value a line.
    """
    if not all(values):
        return None
    lines: Sequence[bytes] = values  # type: ignore[assignment]
    joined = b"\n".join(lines)
    if not (
        max(map(len, lines), default=0) <= MAX_TRANSACTION_BYTES
        and _one_object_a_line(joined, len(lines))
        and _literal(joined)
        and not _blank_at_an_end(joined)
    ):
        return None
    inner = None
    if _count(joined, b"{") > len(lines):
        inner = inner_objects(joined, lines)
        if inner is None:
            return None
    # lines with as many digits as a card number has; attributes are looked at where they are admitted
    suspects: Sequence[int] = ()
    if may_hold_card_number(joined if inner is None else outside_of(joined, inner)):
        suspects = [i for i, line in enumerate(lines) if may_hold_card_number(line)]
    # an unknown field in one of them: all are parsed again by the decoder that ignores such fields
    for decoder in (_known_decoder, _transaction_decoder):
        try:
            found = cast(list[Transaction], decoder.decode_lines(joined))
        except UNREADABLE:
            continue
        plain = decoder is _known_decoder
        if len(found) != len(lines):
            return None
        repeats = (
            lines_repeat_a_field(joined, lines, found, inner) if plain else any(map(repeats_a_field, lines))
        )
        if repeats or not _fit(found, len(lines)) or any(_card_number_in(found[i]) for i in suspects):
            return None
        canonical = _with_canonical_ips(found)
        return None if canonical is None else Together(_with_capitals(canonical), plain)
    return None


def _fit(found: list[Transaction], lines: int) -> bool:
    """Whether each line gave one transaction that passes the checks its types do not make, but for addresses and card numbers."""
    times = [tx.event_time for tx in found]
    return (
        len(found) == lines
        and min(times) >= EARLIEST_EVENT
        and max(times) < LATEST_EVENT
        and CURRENCIES.issuperset({tx.currency for tx in found})
    )


def _with_canonical_ips(found: list[Transaction]) -> list[Transaction] | None:
    """The transactions with their addresses in canonical form; None where one is no address."""
    try:
        # nearly all: without a call of ours for each
        for tx in found:
            if tx.ip is not None:
                inet_pton(AF_INET, tx.ip)
    except OSError:
        with contextlib.suppress(InvalidEvent):
            return [_with_canonical_ip(tx) for tx in found]
        return None
    return found


def _with_capitals(found: list[Transaction]) -> list[Transaction]:
    """The transactions with their countries in capital letters."""
    small = {code for code in {tx.country for tx in found} if code is not None and code != code.upper()}
    if not small:
        return found
    return [
        replace(tx, country=tx.country.upper()) if tx.country in small and tx.country else tx for tx in found
    ]


def _with_canonical_ip(tx: Transaction) -> Transaction:
    """Raises: InvalidEvent: ``ip``."""
    if not tx.ip:
        return tx if tx.ip is None else replace(tx, ip=None)
    try:
        ip = canonical_ip(tx.ip)
    except ValueError as error:
        raise InvalidEvent("ip", "ip", f"ip {tx.ip!r} {error}") from None
    return tx if ip == tx.ip else replace(tx, ip=ip)


def _one_object_a_line(joined: bytes, lines: int) -> bool:
    """Whether there are ``lines`` lines, each beginning with ``{`` and ending with ``}``."""
    text = np.frombuffer(joined, dtype=np.uint8)
    breaks = np.flatnonzero(text == ord("\n"))
    return (
        len(breaks) == lines - 1
        and joined[:1] + joined[-1:] == b"{}"
        and bool((text[breaks - 1] == ord("}")).all() and (text[breaks + 1] == ord("{")).all())
    )


def _count(raw: bytes, sign: bytes) -> int:
    """How often a sign is there; a fifth of the time of ``bytes.count`` where every tenth byte is one."""
    return int(np.count_nonzero(np.frombuffer(raw, dtype=np.uint8) == ord(sign)))


def _literal(raw: bytes) -> bool:
    """Whether the bytes are ASCII without escapes, of JSON or of other kinds: identifiers stand in them literally, and all are printable."""
    return raw.isascii() and b"\\" not in raw and b"\x7f" not in raw and b"%" not in raw and b"&" not in raw


def _blank_at_an_end(raw: bytes) -> bool:
    """Whether a text in JSON without escapes begins or ends with a blank."""
    if b" " not in raw:
        return False
    # as most programs write JSON, a blank beside a mark stands between two of the signs : , "
    if b'" ' not in raw and raw.count(b' "') == raw.count(b': "') + raw.count(b', "'):
        return False
    text = np.frombuffer(raw, dtype=np.uint8)
    marks = np.flatnonzero(text == ord('"'))
    # without escapes every second mark ends a text
    begins, ends = marks[0::2], marks[1::2]
    return len(begins) != len(ends) or bool(
        (text[begins + 1] == ord(" ")).any() or (text[ends - 1] == ord(" ")).any()
    )


def _looks_fine(raw: bytes, tx: Transaction) -> bool:
    """Whether ``check_transaction`` would give a record back as it is; a quarter of its cost, and true for nearly all records."""
    return (
        _literal(raw)
        and not _blank_at_an_end(raw)
        and not may_hold_card_number(raw)
        and (tx.ip is None or is_canonical_ipv4(tx.ip))
        and tx.currency in CURRENCIES
        and (tx.country is None or tx.country == tx.country.upper())
        and EARLIEST_EVENT <= tx.event_time < LATEST_EVENT
    )


#: fields that name somebody or something; codes, which are printable too
_IDENTIFIERS = ("transaction_id", "card_id", "merchant_id", "customer_id", "device_id", "tenant")
_CODES = ("mcc", "country")


def check_transaction(tx: Transaction) -> Transaction:
    """The transaction with identifiers, country and address in canonical form, after the checks that the types cannot express.

    Raises:
        InvalidEvent: see ``parse_transaction``.
    """
    changed = {}
    for name in _IDENTIFIERS:
        value = getattr(tx, name)
        if value is not None and (canonical := canonical_field(name, value)) != value:
            changed[name] = canonical
    for name in _CODES:
        if not (getattr(tx, name) or "").isprintable():
            raise InvalidEvent("unprintable", name, f"{name} holds unprintable characters")
    if tx.country is not None and tx.country.isascii() and tx.country != tx.country.upper():
        changed["country"] = tx.country.upper()
    if changed:
        tx = replace(tx, **changed)
    if _card_number_in(tx):
        for name in (*_IDENTIFIERS, *_CODES, "ip"):
            refuse_card_number(name, getattr(tx, name) or "")
    if tx.currency not in CURRENCIES:
        raise InvalidEvent("field", "currency", "currency must be an ISO 4217 code such as EUR")
    if not EARLIEST_MS <= tx.event_ms < LATEST_MS:
        raise InvalidEvent(
            "event_time_range",
            "event_time",
            f"event_time {tx.event_time.isoformat()} is not between 2000 and 2100",
        )
    return _with_canonical_ip(tx)


def _card_number_in(tx: Transaction) -> bool:
    """Whether one of its texts holds a card number."""
    texts = (tx.transaction_id, tx.card_id, tx.merchant_id, tx.tenant, *_optional(tx))
    # a card number has at least twelve characters; no card number continues over the mark between two fields
    long = [text for text in texts if len(text) >= MIN_DIGITS]
    return bool(long) and find_card_number(";".join(long)) is not None


def admitted(tx: Transaction, tenants: Tenants) -> Fitted:
    """The transaction for the tenant for which it counts, with the attributes that this one may send.

    Raises:
        InvalidEvent: ``tenant``, it is unknown; ``attribute`` or ``card_number``, an attribute does not fit its declaration.
    """
    tenant = tenants.admitted(tx.tenant)
    return with_fitting_attributes(
        tx if tenant == tx.tenant else replace(tx, tenant=tenant), tenants.attributes
    )


def to_admit(transactions: Sequence[Transaction], tenants: Tenants) -> Sequence[int]:
    """The rows that ``admitted`` must look at: it gives back all others as they are."""
    if not tenants.knows(transactions):
        return range(len(transactions))
    return unusual_rows(transactions, tenants.attributes)


def unknown_fields(raw: bytes, tx: Transaction | None = None) -> list[str]:
    """Names of the transaction's fields that the contract does not know. They are ignored; the caller counts them.

    Args:
        tx: the parsed ``raw``, if the caller has it: it usually saves parsing again.

    Raises:
        InvalidEvent: ``not_utf8``, when such a name is not UTF-8 (the typed parser does not look at it).
    """
    if tx is not None and tx.attributes is UNSET and _count(raw, b'"') <= _quotes(raw, tx):
        return []
    try:
        return [name for name in _object_decoder.decode(raw) if name not in _KNOWN]
    except UNREADABLE:
        raise InvalidEvent("not_utf8", "", "the name of an unknown field is not UTF-8") from None


def _quotes(raw: bytes, tx: Transaction) -> int:
    """The most quotation marks that a record without unknown fields has. A record with more is parsed to find them.

    ``"tenant":`` cannot be a value, so no value is counted as this optional field.
    """
    # required fields: six names and five text values
    marks = 22 + 4 * len(_optional(tx)) + 2 * ((tx.latitude is not None) + (tx.longitude is not None))
    marks += 4 * (raw.count(b'"tenant":') + raw.count(b'"tenant" :'))
    if b"null" in raw:
        marks += 2 * (raw.count(b":null") + raw.count(b": null"))
        marks -= 4 * (raw.count(b'"tenant":null') + raw.count(b'"tenant": null'))
    return marks


def _optional(tx: Transaction) -> list[str]:
    """The values of the optional text fields that are set."""
    return [v for v in (tx.customer_id, tx.device_id, tx.ip, tx.mcc, tx.channel, tx.country) if v]
