"""The public events: what producers send, what readers get. Parsing is validation; a value that does not fit raises.

JSON in, frozen structs out. ``schema()`` gives the JSON Schema published under ``streams/schemas/``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta
from msgspec.structs import astuple

from streams.card_numbers import find_card_number

Identifier = Annotated[str, Meta(min_length=1, max_length=64)]
#: integer minor units; the bound is 10 billion in a currency of two decimals and what a profile can hold exactly
AmountMinor = Annotated[int, Meta(ge=0, lt=2**40)]
Instant = Annotated[datetime, Meta(tz=True)]
Channel = Literal["pos", "ecom", "atm", "transfer", "moto"]

#: a value longer than this is refused before it is parsed
MAX_TRANSACTION_BYTES = 16_384
#: event times outside are a producer's mistake, not history
#: an event may be this far ahead of the broker's clock; further ahead it would push real history out of its windows
MAX_AHEAD_MS = 86_400_000
EARLIEST_EVENT = datetime(2000, 1, 1, tzinfo=UTC)
LATEST_EVENT = datetime(2100, 1, 1, tzinfo=UTC)
_EARLIEST_MS = int(EARLIEST_EVENT.timestamp() * 1000)
_LATEST_MS = int(LATEST_EVENT.timestamp() * 1000)


class InvalidEvent(Exception):
    """An event does not fit its contract. ``field`` names the place, ``reason`` is a metric label, the text is for people."""

    def __init__(self, reason: str, field: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.field = field


class Transaction(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One payment attempt. Identifiers are 1-64 printable characters; amounts are integer minor units."""

    transaction_id: Identifier
    event_time: Instant
    card_id: Identifier
    merchant_id: Identifier
    amount_minor: AmountMinor
    currency: Annotated[str, Meta(min_length=3, max_length=3)]
    customer_id: Identifier | None = None
    device_id: Identifier | None = None
    ip: Annotated[str, Meta(max_length=45)] | None = None
    mcc: Annotated[str, Meta(max_length=4)] | None = None
    channel: Channel | None = None
    country: Annotated[str, Meta(min_length=2, max_length=2)] | None = None
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    tenant: Annotated[str, Meta(min_length=1, max_length=64)] = "default"

    @property
    def event_ms(self) -> int:
        """Event time in milliseconds since 1970, UTC."""
        return epoch_ms(self.event_time)

    def __eq__(self, other: object) -> bool:
        # whichever of the parsers below made them
        return isinstance(other, Transaction) and astuple(self) == astuple(other)

    def __hash__(self) -> int:
        return hash(self.transaction_id)


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction turned out to be. ``event_time`` is the transaction's own, ``label_time`` when it was said."""

    transaction_id: Identifier
    label: Literal["fraud", "legit"]
    label_time: Instant
    source: Literal["chargeback", "analyst", "customer"]
    card_id: Identifier
    merchant_id: Identifier
    event_time: Instant


class Reason(msgspec.Struct, frozen=True):
    code: str
    text: str
    contribution: float


class Decision(msgspec.Struct, kw_only=True, omit_defaults=False):
    """The one decision of a transaction. ``status`` says how well founded it is; ``degraded_by`` what was missing."""

    transaction_id: str
    decision: Literal["approve", "review", "decline"]
    status: Literal["scored", "degraded", "not_scored"]
    score: float | None
    reasons: list[Reason]
    model: str
    model_version: str
    policy_version: str
    features_version: str
    arm: str
    shadow: dict[str, float]
    rules: list[str]
    event_time: datetime
    received_at: datetime
    decided_at: datetime
    latency_ms: float
    card_id: str
    tenant: str
    degraded_by: list[str] = []


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A decision joined with its matured label."""

    decision: Decision
    label: Literal["fraud", "legit"]
    label_time: datetime
    source: str
    merchant_id: str


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """One detector's verdict on one feature (or ``*`` for all) over one window of decisions."""

    detector: str
    feature: str
    window_start: datetime
    window_end: datetime
    rows: int
    statistic: float
    p_value: float | None
    psi: float | None
    severity: Literal["none", "warning", "critical"]
    model_version: str
    bundle_reference: str


class RetrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody or something asks for a new model, with evidence. One ``dedupe_key`` is answered once."""

    model: str
    reason: str
    evidence: list[dict[str, Any]]
    data_from: datetime
    data_to: datetime
    requested_at: datetime
    dedupe_key: str
    cooldown_s: float
    requested_by: str


class RolloutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle each arm serves from now on. The newest record on `rollouts` is the truth."""

    model: str
    champion: str
    previous: str | None
    arms: dict[str, str]
    traffic: dict[str, float]
    state: Literal["live", "shadow", "canary", "rolled_back"]
    approved_by: str
    why: str
    since: datetime
    sequence: int


_transaction_decoder = msgspec.json.Decoder(Transaction)


# one in which there is nothing but what the contract knows; by name, look and equality the same
_known_decoder = msgspec.json.Decoder(
    msgspec.defstruct("Transaction", [], bases=(Transaction,), frozen=True, forbid_unknown_fields=True)
)
_label_decoder = msgspec.json.Decoder(Label)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KNOWN = frozenset(field.name for field in msgspec.structs.fields(Transaction))
_encoder = msgspec.json.Encoder()
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]")
_FIELD = re.compile(r"`\$\.?([^`]*)`")

_UTC = UTC


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since 1970, UTC, truncated; exact integer arithmetic."""
    delta = moment - _EPOCH
    return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000


def epochs_ms(moments: Sequence[datetime]) -> npt.NDArray[np.int64]:
    """``epoch_ms`` of many, for a third of the cost; shape (n,).

    Seconds as a double miss a microsecond between 2000 and 2100 by less than half of one, so that rounding finds it again.
    """
    microseconds = np.rint(np.array([moment.timestamp() for moment in moments]) * 1e6)
    return microseconds.astype(np.int64) // 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_ms(milliseconds: int) -> datetime:
    """The UTC moment of a count of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=_UTC)


def encode(event: Any) -> bytes:
    """JSON bytes of any event struct; times are RFC 3339 with zone."""
    return _encoder.encode(event)


def encode_many(events: Iterable[Any]) -> list[bytes]:
    """``encode`` of each, in one go: JSON holds no line's end."""
    return _encoder.encode_lines(events).split(b"\n")[:-1]


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
    tx: Transaction = _decode(_transaction_decoder, raw)
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
    if not (joined.isascii() and joined.isprintable()) and _UNPRINTABLE.search(joined):
        raise InvalidEvent(
            "unprintable", _which(tx, _UNPRINTABLE.search), "an identifier holds unprintable characters"
        )
    # a card number has twelve digits at least; three blanks keep those of different fields apart
    if find_card_number("\x20\x20\x20".join([text for text in texts if len(text) >= 12])):
        field = _which(tx, find_card_number)
        raise InvalidEvent("card_number", field, f"{field} holds a card number; send a token in its place")
    if not (tx.currency.isascii() and tx.currency.isalpha() and tx.currency.isupper()):
        raise InvalidEvent("field", "currency", "currency must be an ISO 4217 code such as EUR")
    if not _EARLIEST_MS <= tx.event_ms < _LATEST_MS:
        raise InvalidEvent(
            "event_time_range",
            "event_time",
            f"event_time {tx.event_time.isoformat()} is not between 2000 and 2100",
        )
    return tx


def check_not_ahead(event_ms: int, appended_ms: int) -> None:
    """Refuse events from the future, held against the time at which the broker (or the edge) got them.

    Raises:
        InvalidEvent: ``event_time_ahead``.
    """
    if event_ms > appended_ms + MAX_AHEAD_MS:
        ahead_h = (event_ms - appended_ms) / 3_600_000
        raise InvalidEvent(
            "event_time_ahead", "event_time", f"event_time lies {ahead_h:.0f} hours in the future"
        )


def parse_label(raw: bytes | None) -> Label:
    """Parse and check one label.

    Raises:
        InvalidEvent: as for transactions.
    """
    if not raw:
        raise InvalidEvent("empty", "", "the record has no value")
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise InvalidEvent(
            "too_large", "", f"the value has {len(raw)} bytes, more than {MAX_TRANSACTION_BYTES}"
        )
    label: Label = _decode(_label_decoder, raw)
    joined = "   ".join((label.transaction_id, label.card_id, label.merchant_id))
    if _UNPRINTABLE.search(joined):
        raise InvalidEvent("unprintable", "transaction_id", "an identifier holds unprintable characters")
    if find_card_number(joined):
        raise InvalidEvent(
            "card_number", "card_id", "an identifier holds a card number; send a token in its place"
        )
    for name in ("event_time", "label_time"):
        if not _EARLIEST_MS <= epoch_ms(getattr(label, name)) < _LATEST_MS:
            raise InvalidEvent("event_time_range", name, f"{name} is not between 2000 and 2100")
    check_not_ahead(epoch_ms(label.event_time), epoch_ms(label.label_time))
    return label


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


def schema() -> dict[str, Any]:
    """JSON Schema of the public events."""
    _, components = msgspec.json.schema_components(
        (Transaction, Label, Decision, Outcome), ref_template="#/$defs/{name}"
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": components}


def _decode(decoder: Any, raw: bytes) -> Any:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        field = found.group(1) if found else ""
        missing = re.search(r"missing required field `([^`]+)`", str(error))
        raise InvalidEvent(
            "field", missing.group(1) if missing else field, _plainly(str(error), field)
        ) from None
    except msgspec.DecodeError as error:
        text = str(error)
        reason = "not_utf8" if "utf-8" in text.lower() else "not_json"
        raise InvalidEvent(reason, "", f"not JSON: {text}") from None
    except RecursionError:
        raise InvalidEvent("not_json", "", "not JSON: nested too deeply") from None
    except UnicodeDecodeError:
        raise InvalidEvent("not_utf8", "", "not UTF-8") from None


def _optional(tx: Transaction) -> list[str]:
    """The texts of a transaction that need not be there, of those that are."""
    return [v for v in (tx.customer_id, tx.device_id, tx.ip, tx.mcc, tx.channel, tx.country) if v]


def _plainly(text: str, field: str) -> str:
    """The library's message in words of the person who has to mend the record."""
    if "RFC3339" in text:
        return f"{field} is no moment that exists: wanted is RFC 3339 with zone, such as 2026-11-21T10:15:30Z"
    if "timezone" in text:
        return f"{field} has no zone: wanted is RFC 3339 with zone, such as 2026-11-21T10:15:30Z"
    return text


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
