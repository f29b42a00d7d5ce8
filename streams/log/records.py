"""Internal binary records: `features` (processor to scoring) and `entities` (what an event means for merchants & co.).

MessagePack arrays (msgspec, ``array_like``): a field is only ever appended, with a default, so that older and
newer processes read each other. Never pickle (invariant 8).
"""

from __future__ import annotations

from hashlib import blake2s

import msgspec
import numpy as np
import numpy.typing as npt

from features.transaction import Transaction

#: Kafka headers
HEADER_SOURCE_OFFSET = "tollgate-source-offset"  # decimal offset on `transactions`, same partition number
HEADER_APPENDED_MS = "tollgate-appended-ms"  # a forwarded record's original append time
HEADER_DEADLINE_MS = (
    "tollgate-deadline-ms"  # the time this record may take; 0: no deadline (backlogs, replays)
)
HEADER_DECIDED = "tollgate-decided"  # the HTTP edge's decision, carried through so that one writer decides
HEADER_FORWARDED = "tollgate-forwarded-from"  # "partition:offset" where a misplaced record was found

#: bits of ``FeatureRecord.missing``: what could not be read when the features were made
MISSING_CARD = 1
MISSING_MERCHANT = 2
MISSING_DEVICE = 4
MISSING_IP = 8
MISSING_CUSTOMER = 16


class FeatureRecord(msgspec.Struct, array_like=True, frozen=True):
    """One transaction with its features, as made by the processor.

    ``vector`` holds little-endian float32 in catalogue order (NaN: unknown). ``as_of`` says which state was read: for
    the card the last applied offset of its `transactions` partition, for merchant, device, ip and customer the
    offset of `entities` last applied to that profile (-1: nothing known), in this order.
    """

    catalogue: str
    partition: int
    offset: int
    appended_ms: int
    deadline_ms: int
    missing: int
    transaction: Transaction
    event_ms: int
    vector: bytes
    as_of: tuple[int, int, int, int, int]
    #: the HTTP edge's decision as JSON, when it has decided already
    decided: bytes | None = None
    trace: str | None = None
    #: as ``as_of``, for the card's fraud history, which also lives on `entities`
    frauds_as_of: int = -1
    #: how far behind its card's newest payment it came, where that is more than LATE_BOUND_S; else 0
    late_ms: int = 0


class EdgeDecision(msgspec.Struct, array_like=True, frozen=True):
    """What the HTTP edge has decided already, in the header HEADER_DECIDED of the transaction that it publishes."""

    decision: bytes
    catalogue: str
    vector: bytes
    as_of: tuple[int, int, int, int, int]
    missing: int
    frauds_as_of: int = -1


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


_feature_encoder = msgspec.msgpack.Encoder()
_feature_decoder = msgspec.msgpack.Decoder(FeatureRecord)
_edge_decoder = msgspec.msgpack.Decoder(EdgeDecision)
_items_decoder = msgspec.msgpack.Decoder(EntityItems)

encode_features = _feature_encoder.encode
encode_items = _feature_encoder.encode
encode_edge_decision = _feature_encoder.encode


def decode_edge_decision(raw: bytes) -> EdgeDecision:
    """Raises: msgspec.DecodeError when the bytes are not an edge decision."""
    decided: EdgeDecision = _edge_decoder.decode(raw)
    return decided


def decode_features(raw: bytes) -> FeatureRecord:
    """Raises: msgspec.DecodeError or UnicodeDecodeError when the bytes are not a features record."""
    record: FeatureRecord = _feature_decoder.decode(raw)
    return record


def decode_items(raw: bytes) -> EntityItems:
    """Raises: msgspec.DecodeError when the bytes are not entity items."""
    items: EntityItems = _items_decoder.decode(raw)
    return items


def matrix(records: list[FeatureRecord], width: int) -> npt.NDArray[np.float32]:
    """The vectors of many records as one array, shape (records, width); a vector of another width becomes NaN."""
    size = 4 * width
    unknown = np.full(width, np.nan, dtype="<f4").tobytes()
    joined = b"".join([r.vector if len(r.vector) == size else unknown for r in records])
    return np.frombuffer(joined, dtype="<f4").reshape(len(records), width)


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
    return blake2s(_feature_encoder.encode(said), digest_size=DIGEST_BYTES).digest()


def encode_entities_of(tx: Transaction) -> bytes:
    """A decided transaction's header HEADER_ENTITIES."""
    # as DecidedEntities, whose bytes are those of its fields in order
    return encode_entities((tx.merchant_id, tx.device_id, tx.ip, tx.customer_id, digest_of(tx)))


_entities_decoder = msgspec.msgpack.Decoder(DecidedEntities)
encode_entities = _feature_encoder.encode


def decode_entities(raw: bytes) -> DecidedEntities:
    """Raises: msgspec.DecodeError."""
    entities: DecidedEntities = _entities_decoder.decode(raw)
    return entities
