"""Signatures on Kafka records: who made one, and whether it fits.

Signed are the stack, the topic, the name and the value, so a signature counts for one record of one stack only.
"""

from __future__ import annotations

from models.bundle.signing import verifies
from streams.access.directory import Directory, Member
from streams.access.identity import Identity
from streams.access.roles import Permission
from streams.access.signed_record import Signed


class Forged(Exception):
    """A record that nobody signed who may; the text says what is wrong with it.

    ``reason``, a metric label: ``unsigned``, ``unknown_signer``, ``wrong``, ``not_allowed`` or ``unreadable``.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def signed(identity: Identity, topic: str, value: bytes) -> Signed:
    """A value with its signature."""
    return Signed(
        value, identity.name, identity.key.sign(_payload(identity.stack, topic, identity.name, value))
    )


def signer(directory: Directory, topic: str, record: Signed) -> Member:
    """The active member who signed a record.

    Raises:
        Forged: there is no signature, its name is not known or was revoked, or it does not fit.
    """
    if not record.signature:
        raise Forged("unsigned", "it is not signed")
    member = directory.active(record.signed_by)
    if member is None:
        raise Forged("unknown_signer", f"{record.signed_by!r} is not known to this stack, or was revoked")
    payload = _payload(directory.stack, topic, member.name, record.value)
    if not verifies(member.public_key, payload, record.signature):
        raise Forged("wrong", f"the signature is not {member.name}'s, or the record was changed")
    return member


def check_may(directory: Directory, topic: str, record: Signed, permission: Permission) -> Member:
    """The member who signed a record and may do what it asks for.

    Raises:
        Forged: as ``signer``, or the signer's role lacks the permission.
    """
    member = signer(directory, topic, record)
    if not member.may(permission):
        raise Forged(
            "not_allowed",
            f"{member.name} has the role {member.role}, which lacks the permission {permission}",
        )
    return member


def _payload(stack: str, topic: str, name: str, value: bytes) -> bytes:
    return b"\0".join((b"tollgate", stack.encode(), topic.encode(), name.encode(), value))
