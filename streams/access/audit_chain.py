"""The hash chain of `audit`: each entry names the hash of the one before, and the rollout process signs it. Pure.

A sealed entry is its JSON with one more field at the end, ``signature``. The signature is over the exact bytes before it, so
no other spelling of the same JSON verifies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from models.bundle.signing import verifies
from streams.access.directory import Directory, Member
from streams.access.identity import Identity
from streams.contracts.audit import AuditEntry
from streams.contracts.text.json_encoding import encode

_FIELD = b',"signature":"'
_END = b'"}'
_SIGNATURE_DIGITS = 128
#: faults that a report lists; it counts all
LISTED = 20


class Head(msgspec.Struct, frozen=True):
    """The end of a chain: how many entries it has, and the hash of the newest."""

    entries: int = 0
    hash: str = "0" * 64


class NoEntry(Exception):
    """Bytes that are not an entry which the rollout process signed; the text says why."""


class Fault(msgspec.Struct, frozen=True):
    """Where a chain is broken. ``entry``: the number that is affected; ``place``: of the record on the topic, from 1."""

    entry: int
    place: int | None
    why: str


class ChainReport(msgspec.Struct, frozen=True):
    """``entries``: records on the topic. ``first_bad``: the number of the first entry that is wrong, or None."""

    entries: int
    ok: bool
    first_bad: int | None
    faults: list[Fault]


def seal(entry: AuditEntry, identity: Identity) -> bytes:
    """The bytes of a signed entry."""
    body = encode(entry)
    return body[:-1] + _FIELD + identity.key.sign(_payload(identity.stack, body)).hex().encode() + _END


def opened(raw: bytes, directory: Directory) -> AuditEntry:
    """The entry in sealed bytes.

    Raises:
        NoEntry: it does not parse, or no key that was the rollout process's at that time signed it.
    """
    entry = _parsed(raw)
    for member in directory.members:
        if _was_writer(member, entry.at) and _verifies(raw, member.public_key, directory.stack):
            return entry
    raise NoEntry("the rollout process did not sign it, or it was changed")


def sealed_by(raw: bytes, identity: Identity) -> bool:
    """Whether this key sealed an entry that was ``opened``."""
    return _verifies(raw, identity.key.public_key(), identity.stack)


def hash_of(raw: bytes) -> str:
    """The hash of a sealed entry, in hex."""
    return hashlib.sha256(raw).hexdigest()


def check_chain(raws: Iterable[bytes], directory: Directory, kept: Iterable[Head] = ()) -> ChainReport:
    """Follow a chain from its first entry; ``kept``: heads noted elsewhere, which the chain must contain.

    After a fault the check goes on with the entries behind it, so each fault is found once.
    """
    faults: list[Fault] = []
    hashes: dict[int, str] = {}
    expected, previous, place = 1, Head().hash, 0

    def fault(entry: int, where: int | None, why: str) -> None:
        faults.append(Fault(entry, where, why))

    for place, raw in enumerate(raws, 1):
        try:
            entry = opened(raw, directory)
        except NoEntry as error:
            fault(expected, place, str(error))
            # what follows names the hash of these bytes or of the true ones: either is taken
            expected, previous = expected + 1, ""
            continue
        if entry.entry < expected:
            fault(entry.entry, place, "it stands twice, or in the wrong place")
            hashes.setdefault(entry.entry, hash_of(raw))
            continue
        if entry.entry > expected:
            fault(
                expected,
                place,
                f"entries {expected} to {entry.entry - 1} are missing before entry {entry.entry}",
            )
        elif previous and entry.previous != previous:
            fault(entry.entry, place, "it does not follow the entry before it")
        hashes[entry.entry] = hash_of(raw)
        expected, previous = entry.entry + 1, hash_of(raw)
    for head in kept:
        if head.entries >= expected:
            fault(expected, None, f"entries {expected} to {head.entries} are missing at the end")
        elif head.entries and hashes.get(head.entries, head.hash) != head.hash:
            fault(head.entries, None, "it is another entry than the one noted when it was written")
    return ChainReport(place, not faults, faults[0].entry if faults else None, faults[:LISTED])


def _parsed(raw: bytes) -> AuditEntry:
    if not raw.endswith(_END) or raw[-_SIGNATURE_DIGITS - len(_FIELD) - len(_END) :][: len(_FIELD)] != _FIELD:
        raise NoEntry("it is no signed entry")
    try:
        bytes.fromhex(raw[-_SIGNATURE_DIGITS - len(_END) : -len(_END)].decode("ascii"))
        return msgspec.json.decode(raw, type=AuditEntry)
    except (ValueError, RecursionError) as error:
        raise NoEntry(f"it does not parse: {error}") from error


def _verifies(raw: bytes, key: Ed25519PublicKey, stack: str) -> bool:
    body = raw[: -_SIGNATURE_DIGITS - len(_FIELD) - len(_END)] + b"}"
    signature = bytes.fromhex(raw[-_SIGNATURE_DIGITS - len(_END) : -len(_END)].decode())
    return verifies(key, _payload(stack, body), signature)


def _was_writer(member: Member, at: datetime) -> bool:
    return (
        member.name == "rollout"
        and member.role == "service"
        and (member.revoked_at is None or at <= member.revoked_at)
    )


def _payload(stack: str, body: bytes) -> bytes:
    return b"\0".join((b"tollgate", stack.encode(), b"audit", body))
