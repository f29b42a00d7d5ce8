"""The engine's input: one payment attempt with its fields, their types and limits, and event time as milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple

from features.attributes import MAX_ATTRIBUTES
from features.identity import DEFAULT_TENANT, identity_of

Identifier = Annotated[str, Meta(min_length=1, max_length=64)]

#: 10 billion in a currency of two decimals, and what a profile can hold exactly
AMOUNT_LIMIT = 2**40
#: integer minor units
AmountMinor = Annotated[int, Meta(ge=0, lt=AMOUNT_LIMIT)]

Instant = Annotated[datetime, Meta(tz=True)]

Channel = Literal["pos", "ecom", "atm", "transfer", "moto"]

CHANNELS: tuple[Channel, ...] = get_args(Channel)

#: event times outside are a producer's mistake, not history
#: an event may be this far ahead of the broker's clock; further ahead it would push real history out of its windows
MAX_AHEAD_MS = 86_400_000

EARLIEST_EVENT = datetime(2000, 1, 1, tzinfo=UTC)

LATEST_EVENT = datetime(2100, 1, 1, tzinfo=UTC)

#: attributes of one's own by name (``features.attributes``): texts and numbers; None is an empty one
AttributeValues = Annotated[dict[str, Any], Meta(max_length=MAX_ATTRIBUTES)] | None | UnsetType

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Transaction(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One payment attempt. Identifiers are 1-64 printable characters, stored in Unicode's composed form without blanks at their ends;
    ``ip`` is stored as RFC 5952 says; amounts are integer minor units. ``attributes``: those that the stack's settings declare, each a
    number or a text; others are ignored."""

    transaction_id: Identifier
    event_time: Instant
    card_id: Identifier
    merchant_id: Identifier
    amount_minor: AmountMinor
    #: ISO 4217; parsing looks at the list of codes
    currency: Annotated[str, Meta(min_length=3, max_length=3, extra_json_schema={"pattern": "^[A-Z]{3}$"})]
    customer_id: Identifier | None = None
    device_id: Identifier | None = None
    ip: Annotated[str, Meta(max_length=45)] | None = None
    mcc: Annotated[str, Meta(min_length=1, max_length=4)] | None = None
    channel: Channel | None = None
    country: Annotated[str, Meta(min_length=2, max_length=2)] | None = None
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    tenant: Annotated[str, Meta(min_length=1, max_length=64)] = DEFAULT_TENANT
    #: left out of JSON where a transaction has none
    attributes: AttributeValues = UNSET

    @property
    def event_ms(self) -> int:
        """Event time in milliseconds since 1970, UTC."""
        return epoch_ms(self.event_time)

    @property
    def identity(self) -> str:
        """Tenant and id, by which the transaction is found again."""
        return identity_of(self.tenant, self.transaction_id)

    def __eq__(self, other: object) -> bool:
        # whichever of the parsers below made them
        return isinstance(other, Transaction) and astuple(self) == astuple(other)

    def __ne__(self, other: object) -> bool:
        # msgspec has one of its own, which knows nothing of the above
        return not self == other

    def __hash__(self) -> int:
        return hash(self.transaction_id)


class TransactionColumns(NamedTuple):
    """n transactions, a column for each field, in the order of the fields."""

    transaction_id: Sequence[str]
    event_time: Sequence[datetime]
    card_id: Sequence[str]
    merchant_id: Sequence[str]
    amount_minor: Sequence[int]
    currency: Sequence[str]
    customer_id: Sequence[str | None]
    device_id: Sequence[str | None]
    ip: Sequence[str | None]
    mcc: Sequence[str | None]
    channel: Sequence[Channel | None]
    country: Sequence[str | None]
    latitude: Sequence[float | None]
    longitude: Sequence[float | None]
    tenant: Sequence[str]
    attributes: Sequence[AttributeValues]


def transaction_columns(transactions: Sequence[Transaction]) -> TransactionColumns:
    """Parsed transactions as columns."""
    if not transactions:
        return TransactionColumns(*[()] * len(TransactionColumns._fields))
    return TransactionColumns(*zip(*map(astuple, transactions), strict=True))


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


def from_ms(milliseconds: float) -> datetime:
    """The UTC moment of a count of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def rfc3339(moment: datetime) -> str:
    """A UTC moment as JSON and people read it, such as ``2026-11-21T10:15:30.123Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
