"""Internal binary records: entity updates on `entities`, and values of Kafka headers.

MessagePack arrays (msgspec, ``array_like``). Fields are only ever appended, with a default, so that older and newer processes can
read each other's records. Never pickle (invariant 8).
"""

from __future__ import annotations

from hashlib import blake2s
from typing import Annotated

import msgspec
from msgspec import Meta

from features.transaction import AmountMinor, Transaction

#: Kafka headers
HEADER_SOURCE_OFFSET = "tollgate-source-offset"  # decimal offset on `transactions`, same partition number
HEADER_APPENDED_MS = "tollgate-appended-ms"  # a forwarded record's original append time, sealed
HEADER_DEADLINE_MS = (
    "tollgate-deadline-ms"  # milliseconds that this record may take; 0: no deadline (backlogs, replays)
)
HEADER_DECIDED = (
    "tollgate-decided"  # the HTTP edge's decision, sealed, carried through so that one writer decides
)
#: on a decision: its transaction had no deadline (a backlog, a replay), so it says nothing of today's traffic
HEADER_NOBODY_WAITS = ("tollgate-nobody-waits", b"1")

#: largest value of `entities`: more updates become several records. Kafka's limit is 1 MB
MAX_ITEMS_BYTES = 500_000

#: bits of ``missing`` of a row of features: profiles that could not be read when the features were made
MISSING_CARD = 1
MISSING_MERCHANT = 2
MISSING_DEVICE = 4
MISSING_IP = 8
MISSING_CUSTOMER = 16


#: offset on `transactions` or `entities`; -1: none. Bounded by the 64-bit columns
Offset = Annotated[int, Meta(ge=-1, le=2**63 - 1)]


#: longest offset in a header: 18 digits always fit 64 bits
_MAX_OFFSET_DIGITS = 18


def offset_in(header: bytes | None) -> int | None:
    """The offset in the digits of a header; None for what is none: anybody who may produce can send one."""
    return int(header) if header and header.isdigit() and len(header) <= _MAX_OFFSET_DIGITS else None


#: a hash or code, as the kernels' columns hold it
Unsigned = Annotated[int, Meta(ge=0, lt=2**32)]
#: milliseconds since 1970, before 2100
Milliseconds = Annotated[int, Meta(ge=0, lt=4_102_444_800_000)]


class Payment(msgspec.Struct, array_like=True, frozen=True):
    """The fields of a payment that a customer's profile keeps, in the kernels' column types."""

    id_hash: Unsigned
    merchant_hash: Unsigned
    device_hash: Unsigned
    country: Unsigned
    latitude: float | None
    longitude: float | None
    channel: float | None
    mcc: float | None


class LabelStatement(msgspec.Struct, array_like=True, frozen=True):
    """Identifies the label of a transaction behind an update. Of two, the one with the larger (label_time_ms, offset) counts."""

    #: ``features.identity.identity_of``
    transaction: Annotated[str, Meta(min_length=1, max_length=256)]
    label_time_ms: Milliseconds
    #: offset of the label on its partition of `labels`
    offset: Offset


class EntityItem(msgspec.Struct, array_like=True, frozen=True):
    """One entity update: what an event means for one entity. ``kind`` is "tx", "label" or "declined".

    With ``said``, ``frauds`` is the label's statement: 1 fraud, 0 no fraud. Without it, ``frauds`` is a change: -1, 0 or +1.
    """

    entity: str
    entity_id: str
    kind: str
    offset: Offset
    event_ms: Milliseconds
    amount_minor: AmountMinor
    card_hash: Unsigned
    frauds: Annotated[int, Meta(ge=-1, le=1)]
    #: for kind "tx" of a customer
    payment: Payment | None = None
    #: for kind "label"
    said: LabelStatement | None = None


class PaidColumns(msgspec.Struct, array_like=True, frozen=True):
    """Updates of kind "tx" as columns: m payments, and n updates, each a payment and an entity.

    Arrays as little-endian bytes. One struct per update costs sender and reader four times as much.
    """

    #: ``features.kernels.columns.PAYMENT`` (m,), in offset order; ``offset`` is that of the source
    payments: bytes
    #: uint32 (m,): CRC-32 of the cards
    cards: bytes
    #: uint32 (n,): index of the payment, ascending
    rows: bytes
    #: uint8 (n,): index of the entity's kind in PAID_ENTITIES
    kinds: bytes
    #: entity ids, (n,)
    ids: list[str]


#: entities that get an update from each payment, in addition to its card
PAID_ENTITIES = ("merchant", "device", "ip", "customer")


class EntityItems(msgspec.Struct, array_like=True, frozen=True):
    """Entity updates of one chunk for one partition of `entities`, from one partition of one source topic, in offset order.

    A record has ``items`` or ``paid``; with both, ``items`` come first.
    """

    source_topic: str
    source_partition: Annotated[int, Meta(ge=0, lt=2**31)]
    items: list[EntityItem]
    paid: PaidColumns | None = None


_encoder = msgspec.msgpack.Encoder()
_items_decoder = msgspec.msgpack.Decoder(EntityItems)

encode_items = _encoder.encode


def encode_in_parts(batch: EntityItems) -> list[bytes]:
    """Values for `entities` of updates in ``items``, to be produced in this order: one, or several if one would be too large.

    Updates with one offset stay in one value: readers keep the last offset that they applied.
    """
    value = _encoder.encode(batch)
    items = batch.items
    middle = len(items) // 2
    while 0 < middle < len(items) and items[middle].offset == items[middle - 1].offset:
        middle += 1
    if len(value) <= MAX_ITEMS_BYTES or not 0 < middle < len(items):
        return [value]
    halves = (items[:middle], items[middle:])
    return [part for half in halves for part in encode_in_parts(msgspec.structs.replace(batch, items=half))]


def decode_items(raw: bytes) -> EntityItems:
    """Raises: msgspec.DecodeError when the bytes are not entity items."""
    items: EntityItems = _items_decoder.decode(raw)
    return items


#: header on `decisions`: the transaction's merchant, device, ip and customer, for a label that comes days later; a digest of its
#: other fields, to compare a transaction that comes with the same id; and what people ask of a payment first: amount and where
HEADER_ENTITIES = "tollgate-entities"


class DecidedEntities(msgspec.Struct, array_like=True, frozen=True):
    """The entities of a decided transaction other than its card, and its amount. Fields with a default: None where older code wrote it."""

    merchant_id: str
    device_id: str | None
    ip: str | None
    customer_id: str | None
    #: ``digest_of`` the transaction
    digest: bytes | None = None
    #: minor units of ``currency``
    amount_minor: AmountMinor | None = None
    currency: str | None = None
    channel: str | None = None
    country: str | None = None


#: a chance collision has odds of one in four billion; a forged one only returns the decision of the sender's own id. Each further
#: byte is stored for every decision of 60 days, and hashes do not compress
DIGEST_BYTES = 4


def digest_of(tx: Transaction) -> bytes:
    """Digest of the fields other than card, entities, tenant and attributes. Of parsed values, so the spelling in JSON does not matter.

    Attributes are left out: a file that is sent again after one was declared is a repetition, not another payment.
    """
    said = (
        tx.event_time, tx.amount_minor, tx.currency, tx.mcc, tx.channel, tx.country, tx.latitude, tx.longitude,
    )  # fmt: skip
    return blake2s(_encoder.encode(said), digest_size=DIGEST_BYTES).digest()


def encode_entities_of(tx: Transaction) -> bytes:
    """The value of a decided transaction's header HEADER_ENTITIES."""
    # a tuple has the same bytes as DecidedEntities
    return encode_entities(
        (
            tx.merchant_id, tx.device_id, tx.ip, tx.customer_id, digest_of(tx), tx.amount_minor, tx.currency, tx.channel,
            tx.country,
        )
    )  # fmt: skip


_entities_decoder = msgspec.msgpack.Decoder(DecidedEntities)
encode_entities = _encoder.encode


def decode_entities(raw: bytes) -> DecidedEntities:
    """Raises: msgspec.DecodeError."""
    entities: DecidedEntities = _entities_decoder.decode(raw)
    return entities
