"""Seals: a keyed MAC over a record's value and a statement about it, so that a header is believed only if this stack wrote it.

A sealed statement is ``key id (4 bytes) + MAC (32 bytes) + statement``. The MAC is keyed BLAKE2b (RFC 7693) over purpose, length of the
value, value and statement: one purpose's seal says nothing for another, and a seal cut off one record does not fit the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple, Protocol

ID_BYTES, MAC_BYTES, KEY_BYTES = 4, 32, 32
_HEAD = ID_BYTES + MAC_BYTES
#: what a seal is for; at most 16 bytes
DECIDED, FORWARDED, REPLAYED = b"tg-edge-decided", b"tg-forwarded", b"tg-replayed"


class Forged(Exception):
    """A statement that this stack did not make. ``reason`` is a metric label: ``missing``, ``unknown_key``, ``wrong``, ``old``,
    ``unreadable`` or ``other_payment``.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Key(NamedTuple):
    """A secret of KEY_BYTES, and its public name."""

    id: bytes
    secret: bytes


def key_of(secret: bytes) -> Key:
    """The key of a secret; its id is a digest, so that it says nothing about the secret."""
    return Key(blake2b(secret, digest_size=ID_BYTES, person=b"tg-key-id").digest(), secret)


class Keys(Protocol):
    """The keys of a stack: one that seals, and all that are accepted."""

    def newest(self) -> Key: ...
    def find(self, key_id: bytes) -> Key | None: ...


@dataclass(frozen=True)
class FixedKeys:
    """Keys that do not change, the newest first."""

    keys: tuple[Key, ...] = ()

    def newest(self) -> Key:
        return self.keys[0]

    def find(self, key_id: bytes) -> Key | None:
        return next((key for key in self.keys if key.id == key_id), None)


#: believes nobody
NO_KEYS = FixedKeys()


def sealed(key: Key, purpose: bytes, value: bytes, statement: bytes) -> bytes:
    """A statement about a record's value, sealed."""
    return key.id + _mac(key, purpose, value, statement) + statement


def opened(keys: Keys, purpose: bytes, value: bytes, raw: bytes | None) -> bytes:
    """The statement in a seal about this very value.

    Raises:
        Forged: ``missing``, ``unknown_key`` or ``wrong``.
    """
    if raw is None or len(raw) < _HEAD:
        raise Forged("missing", "it carries no seal")
    key = keys.find(raw[:ID_BYTES])
    if key is None:
        raise Forged(
            "unknown_key", f"its seal names the key {raw[:ID_BYTES].hex()}, which is not accepted here"
        )
    statement = raw[_HEAD:]
    if not compare_digest(raw[ID_BYTES:_HEAD], _mac(key, purpose, value, statement)):
        raise Forged("wrong", "its seal does not fit: the transaction or the statement is not the sealed one")
    return statement


def _mac(key: Key, purpose: bytes, value: bytes, statement: bytes) -> bytes:
    mac = blake2b(len(value).to_bytes(8, "big"), digest_size=MAC_BYTES, key=key.secret, person=purpose)
    mac.update(value)
    mac.update(statement)
    return mac.digest()
