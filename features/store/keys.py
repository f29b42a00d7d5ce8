"""Feast's Redis layout, packed by hand: entity keys, hash fields, values. The SDK costs 140 us a row; this about 1.

Source: feast 0.67 ``infra/key_encoding_utils.py`` (entity key version 3), ``infra/online_stores/redis.py`` (fields are
murmur3 of "view:feature", "_ts:view" holds the event timestamp), ``protos/feast/types/Value.proto``. A conformance test
holds both directions against the SDK.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

import mmh3

from features.profile.records import STATE_VERSION

PROJECT = "tollgate"
#: state of an entity that is silent for so long goes: the longest window, its label's delay, and a margin
KEEP_S = 60 * 86_400
#: that time begins anew once a week of event time, not with every write
KEEP_AGAIN_MS = 7 * 86_400_000
#: an entity whose newest event is not longer ago is there still. Its time began anew when the first event of that week was written, a
#: day before the week at the earliest (``features.transaction.MAX_AHEAD_MS``): 1, 7 and 30 days ago together, of KEEP_S
THERE_STILL_MS = 30 * 86_400_000
Kind = Literal["bytes", "int64"]
_STRING = 2
#: entity -> its join key, which is also the transaction's field
JOIN_KEYS = {
    "card": "card_id",
    "merchant": "merchant_id",
    "device": "device_id",
    "ip": "ip",
    "customer": "customer_id",
}


@dataclass(frozen=True)
class View:
    """One Feast feature view: its entity and its fields in the order in which they are written."""

    name: str
    entity: str
    fields: tuple[tuple[str, Kind], ...]

    @property
    def in_parts(self) -> bool:
        """Whether what came since a profile was written whole may stand beside it (``features.profile.codec``)."""
        return ("since", "bytes") in self.fields

    @property
    def numbers(self) -> tuple[str, ...]:
        """The fields that are published for others, in their order."""
        return tuple(name for name, kind in self.fields if kind == "int64")


#: when an entity's last event was is its view's timestamp; a field that said so again would cost Redis 1 us with every write
_FIELDS: tuple[tuple[str, Kind], ...] = (("profile", "bytes"), ("count_24h", "int64"))
#: of entities whose profiles are large: devices and addresses take 200 bytes, of which half change
_PARTS_FIELDS: tuple[tuple[str, Kind], ...] = (
    ("profile", "bytes"),
    ("since", "bytes"),
    ("count_24h", "int64"),
)
_FRAUD_FIELDS: tuple[tuple[str, Kind], ...] = (("profile", "bytes"), ("frauds_30d", "int64"))


def views_of(version: int) -> tuple[View, ...]:
    """The views of one version of the state, in the order of VIEWS. Other versions have other names, so other fields of
    the same hashes: they lie side by side.
    """
    end = "" if version == 1 else f"_v{version}"
    return (
        View(f"card_state{end}", "card", (*_PARTS_FIELDS, ("sum_24h_minor", "int64"))),
        # frauds and declines of cards: another writer than that of their payments, so another view of the same entity
        View(f"card_frauds{end}", "card", _FRAUD_FIELDS),
        View(f"merchant_state{end}", "merchant", _PARTS_FIELDS),
        View(f"device_state{end}", "device", _FIELDS),
        View(f"ip_state{end}", "ip", _FIELDS),
        View(f"customer_state{end}", "customer", _PARTS_FIELDS),
        View(f"customer_frauds{end}", "customer", _FRAUD_FIELDS),
    )


VIEWS: tuple[View, ...] = views_of(STATE_VERSION)
CARD_STATE, CARD_FRAUDS, MERCHANT_STATE, DEVICE_STATE, IP_STATE, CUSTOMER_STATE, CUSTOMER_FRAUDS = VIEWS
#: entity -> the view of its payments, and of a payer's frauds and declines
PAYMENTS_OF = {
    "card": CARD_STATE, "customer": CUSTOMER_STATE, "merchant": MERCHANT_STATE, "device": DEVICE_STATE, "ip": IP_STATE,
}  # fmt: skip
FRAUDS_OF = {"card": CARD_FRAUDS, "customer": CUSTOMER_FRAUDS}


def _key_prefix(join_key: str) -> bytes:
    name = join_key.encode()
    return struct.pack("<III", 1, _STRING, len(name)) + name + struct.pack("<I", _STRING)


_PREFIXES = {entity: _key_prefix(join_key) for entity, join_key in JOIN_KEYS.items()}
KEY_SUFFIX = PROJECT.encode()


def key_prefix(entity: str) -> bytes:
    """What a key of this entity begins with; then come the id's length (4 bytes), the id, and KEY_SUFFIX."""
    return _PREFIXES[entity]


def entity_key(entity: str, entity_id: str) -> bytes:
    """The Redis key of one entity in Feast's layout."""
    value = entity_id.encode()
    return _PREFIXES[entity] + len(value).to_bytes(4, "little") + value + KEY_SUFFIX


def hash_field(view: str, feature: str) -> bytes:
    """The hash field of one feature: murmur3-32 of "view:feature", little-endian."""
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def timestamp_field(view: str) -> bytes:
    """The hash field of a view's event timestamp."""
    return f"_ts:{view}".encode()


def fields_of(view: View) -> tuple[bytes, ...]:
    """Every hash field that a view writes."""
    return (*(hash_field(view.name, name) for name, _ in view.fields), timestamp_field(view.name))


#: written by code of before into the views of payments, and read by nobody any more
_RETIRED = ("last_event_ms",)


def fields_ever_of(view: View) -> tuple[bytes, ...]:
    """``fields_of``, and what older code wrote beside them."""
    retired = [hash_field(view.name, name) for name in _RETIRED] if "count_24h" in dict(view.fields) else []
    return (*fields_of(view), *retired)


def _bulk(value: bytes) -> bytes:
    """One argument of a command in Redis' protocol."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


PROFILE_FIELD = {view.name: hash_field(view.name, "profile") for view in VIEWS}
SINCE_FIELD = {view.name: hash_field(view.name, "since") for view in VIEWS if view.in_parts}
_NUMBERS_OF_VIEW = {view.name: tuple(hash_field(view.name, name) for name in view.numbers) for view in VIEWS}
_TIMESTAMP_OF_VIEW = {view.name: timestamp_field(view.name) for view in VIEWS}


def read_fields(view: View) -> tuple[bytes, ...]:
    """The hash fields from which a view's profile is read: the profile, and what came since it was written whole."""
    since = SINCE_FIELD.get(view.name)
    return (PROFILE_FIELD[view.name],) if since is None else (PROFILE_FIELD[view.name], since)


def profile_bulk(view: View) -> bytes:
    """The profile's hash field as an argument of a command."""
    return _bulk(PROFILE_FIELD[view.name])


def since_bulk(view: View) -> bytes:
    """As ``profile_bulk``, of what came since; empty where a view has no such field."""
    return _bulk(SINCE_FIELD[view.name]) if view.in_parts else b""


def scalar_bulks(view: View) -> list[bytes]:
    """As ``profile_bulk``, the view's numbers in order."""
    return [_bulk(field) for field in _NUMBERS_OF_VIEW[view.name]]


def timestamp_bulk(view: View) -> bytes:
    """As ``profile_bulk``, the view's event timestamp."""
    return _bulk(_TIMESTAMP_OF_VIEW[view.name])


_VARINT_MORE = [bytes((value & 0x7F | 0x80, value >> 7 | 0x80)) for value in range(1 << 14)]
_VARINT_LAST = [bytes((v,)) if v < 0x80 else bytes((v & 0x7F | 0x80, v >> 7)) for v in range(1 << 14)]


def _varint(value: int) -> bytes:
    """protobuf's variable-length integer, fourteen bits a step."""
    if value < 0:
        value += 1 << 64
    if value < 1 << 14:
        return _VARINT_LAST[value]
    out = b""
    while value >= 1 << 14:
        out += _VARINT_MORE[value & 0x3FFF]
        value >>= 14
    return out + _VARINT_LAST[value]


def pack_bytes(value: bytes) -> bytes:
    """protobuf ``feast.types.Value`` with ``bytes_val``."""
    return b"\x0a" + _varint(len(value)) + value


def pack_int64(value: int) -> bytes:
    """protobuf ``feast.types.Value`` with ``int64_val``."""
    return b"\x20" + _varint(value)


def pack_timestamp(milliseconds: int) -> bytes:
    """protobuf ``google.protobuf.Timestamp``; zero fields are left out, as protobuf does."""
    seconds, rest = divmod(milliseconds, 1000)
    out = b"\x08" + _varint(seconds) if seconds else b""
    return out + (b"\x10" + _varint(rest * 1_000_000) if rest else b"")


def unpack_bytes(stored: bytes | None) -> bytes | None:
    """The ``bytes_val`` of a stored Value; None when there is none.

    Raises:
        ValueError: the value is of another type.
    """
    if not stored:
        return None
    if stored[0] != 0x0A:
        raise ValueError(f"a stored profile is not bytes (protobuf tag {stored[0]})")
    size = shift = 0
    position = 1
    while True:
        byte = stored[position]
        size |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            break
        shift += 7
    return stored[position : position + size]


def hset(
    view: View,
    entity_id: str,
    event_ms: int,
    profile: bytes | None,
    *scalars: int,
    since: bytes | None = None,
) -> tuple[bytes, ...]:
    """The HSET that writes one entity's view: profile, what came ``since``, the view's int64 fields in order, then the event
    timestamp. A part that is None stays as it is.
    """
    command = [b"HSET", entity_key(view.entity, entity_id)]
    if profile is not None:
        command += [PROFILE_FIELD[view.name], pack_bytes(profile)]
    if since is not None:
        command += [SINCE_FIELD[view.name], pack_bytes(since)]
    for name, value in zip(_NUMBERS_OF_VIEW[view.name], scalars, strict=True):
        command += [name, pack_int64(value)]
    command += [_TIMESTAMP_OF_VIEW[view.name], pack_timestamp(event_ms)]
    return tuple(command)


def hmget(entity: str, entity_id: str, *views: View) -> tuple[bytes, ...]:
    """The HMGET that reads ``read_fields`` of some views of one entity, in their order."""
    return (
        b"HMGET",
        entity_key(entity, entity_id),
        *(field for view in views for field in read_fields(view)),
    )
