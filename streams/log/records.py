"""Internal binary records: `entities` (what an event means for merchants & co.), and what travels in headers.

MessagePack arrays (msgspec, ``array_like``): a field is only ever appended, with a default, so that older and
newer processes read each other. Never pickle (invariant 8).
"""

from __future__ import annotations

from hashlib import blake2s
from typing import Annotated

import msgspec
from msgspec import Meta

from features.transaction import Transaction

#: Kafka headers
HEADER_SOURCE_OFFSET = "tollgate-source-offset"  # decimal offset on `transactions`, same partition number
HEADER_APPENDED_MS = "tollgate-appended-ms"  # a forwarded record's original append time
HEADER_DEADLINE_MS = (
    "tollgate-deadline-ms"  # the time this record may take; 0: no deadline (backlogs, replays)
)
HEADER_DECIDED = "tollgate-decided"  # the HTTP edge's decision, carried through so that one writer decides

#: bits of ``missing`` of a row of features: what could not be read when the features were made
MISSING_CARD = 1
MISSING_MERCHANT = 2
MISSING_DEVICE = 4
MISSING_IP = 8
MISSING_CUSTOMER = 16


#: of a record of `transactions` or `entities`; -1: none. More than 64 bits would fit no column
Offset = Annotated[int, Meta(ge=-1, le=2**63 - 1)]


class EdgeDecision(msgspec.Struct, array_like=True, frozen=True):
    """What the HTTP edge has decided already, in the header HEADER_DECIDED of the transaction that it publishes."""

    decision: bytes
    catalogue: str
    #: little-endian float32
    vector: bytes
    as_of: tuple[Offset, Offset, Offset, Offset, Offset]
    missing: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    frauds_as_of: Offset = -1


class Payment(msgspec.Struct, array_like=True, frozen=True):
    """What a customer's profile keeps of a payment, as the kernels' columns have it."""

    id_hash: int
    merchant_hash: int
    device_hash: int
    country: int
    latitude: float | None
    longitude: float | None
    channel: float | None
    mcc: float | None


class LabelStatement(msgspec.Struct, array_like=True, frozen=True):
    """Which label of a transaction an item tells of. Of two, that with the larger (label_time_ms, offset) holds."""

    transaction_id: str
    label_time_ms: int
    #: of the label on its partition of `labels`
    offset: int


class EntityItem(msgspec.Struct, array_like=True, frozen=True):
    """One event's meaning for one entity. ``kind`` is "tx", "label" or "declined".

    ``frauds`` of a label that says so (``said``) is 1 for a fraud and 0 for none, whatever was said before; of one that does
    not (written by older code) it is the change: -1, 0 or +1.
    """

    entity: str
    entity_id: str
    kind: str
    offset: int
    event_ms: int
    amount_minor: int
    card_hash: int
    frauds: int
    #: of a "tx" of a customer
    payment: Payment | None = None
    #: of a "label"
    said: LabelStatement | None = None


class PaidColumns(msgspec.Struct, array_like=True, frozen=True):
    """Items of kind "tx" as columns: m payments, and n items that say for which entity which of them counts.

    Arrays as little-endian bytes. A struct for each item cost the two ends four times as much.
    """

    #: ``features.kernels.columns.PAYMENT`` (m,), in offset order; ``offset`` is that of the source
    payments: bytes
    #: uint32 (m,): CRC-32 of the cards
    cards: bytes
    #: uint32 (n,): which payment, ascending
    rows: bytes
    #: uint8 (n,): place of the entity's kind in PAID_ENTITIES
    kinds: bytes
    #: (n,)
    ids: list[str]


#: what payments count for beside their card
PAID_ENTITIES = ("merchant", "device", "ip", "customer")


class EntityItems(msgspec.Struct, array_like=True, frozen=True):
    """Items of one chunk for one partition of `entities`, from one partition of one source topic, in offset order.

    A record has ``items``, or ``paid``; with both, ``items`` come first.
    """

    source_topic: str
    source_partition: int
    items: list[EntityItem]
    paid: PaidColumns | None = None


_encoder = msgspec.msgpack.Encoder()
_edge_decoder = msgspec.msgpack.Decoder(EdgeDecision)
_items_decoder = msgspec.msgpack.Decoder(EntityItems)

encode_items = _encoder.encode
encode_edge_decision = _encoder.encode


def decode_edge_decision(raw: bytes) -> EdgeDecision:
    """Raises: msgspec.DecodeError when the bytes are not an edge decision."""
    decided: EdgeDecision = _edge_decoder.decode(raw)
    return decided


def decode_items(raw: bytes) -> EntityItems:
    """Raises: msgspec.DecodeError when the bytes are not entity items."""
    items: EntityItems = _items_decoder.decode(raw)
    return items


#: header on `decisions`: the transaction's merchant, device, ip and customer, for the label that comes days later, and a digest
#: of what it says beside them, for the same id that comes again
HEADER_ENTITIES = "tollgate-entities"


class DecidedEntities(msgspec.Struct, array_like=True, frozen=True):
    """Whom a decided transaction belongs to, beside its card."""

    merchant_id: str
    device_id: str | None
    ip: str | None
    customer_id: str | None
    #: ``digest_of`` the transaction; None where older code wrote it
    digest: bytes | None = None


#: an accident in four billion; whoever forges one is given the decision of an id of his own. Each byte more is one for each
#: decision of 60 days, and hashes do not compress
DIGEST_BYTES = 4


def digest_of(tx: Transaction) -> bytes:
    """What tells a transaction from another with the same card, entities and tenant: of values as parsed, however they were written."""
    said = (
        tx.event_time, tx.amount_minor, tx.currency, tx.mcc, tx.channel, tx.country, tx.latitude, tx.longitude,
    )  # fmt: skip
    return blake2s(_encoder.encode(said), digest_size=DIGEST_BYTES).digest()


def encode_entities_of(tx: Transaction) -> bytes:
    """A decided transaction's header HEADER_ENTITIES."""
    # as DecidedEntities, whose bytes are those of its fields in order
    return encode_entities((tx.merchant_id, tx.device_id, tx.ip, tx.customer_id, digest_of(tx)))


_entities_decoder = msgspec.msgpack.Decoder(DecidedEntities)
encode_entities = _encoder.encode


def decode_entities(raw: bytes) -> DecidedEntities:
    """Raises: msgspec.DecodeError."""
    entities: DecidedEntities = _entities_decoder.decode(raw)
    return entities
