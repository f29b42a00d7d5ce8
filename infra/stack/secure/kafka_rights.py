"""Makes Kafka's users (SCRAM) and access control lists what the table of rights says (``streams.log.rights``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.stack.errors import StackError
from streams.log.rights import RIGHTS, Rights
from streams.runtime.kafka.clients import new_admin
from streams.runtime.secured import BROKER
from streams.runtime.settings import Settings, acting_as

ANSWER_WITHIN_S = 30.0
#: the fewest that Kafka takes: they slow down guesses of a weak password, and these have 192 random bits
ITERATIONS = 4096


class Allowed(NamedTuple):
    """One entry of the lists: what a principal may do to a topic or group, by its name or the beginning of it."""

    principal: str
    kind: ResourceType
    name: str
    by: ResourcePatternType
    operation: AclOperation

    @property
    def binding(self) -> AclBinding:
        return AclBinding(
            self.kind, self.name, self.by, f"User:{self.principal}", "*", self.operation, AclPermissionType.ALLOW
        )  # fmt: skip


def allowed(rights: Mapping[str, Rights]) -> set[Allowed]:
    """All entries for a table of rights."""
    return {entry for principal, has in rights.items() for entry in _of(principal, has)}


def _of(principal: str, has: Rights) -> Iterator[Allowed]:
    literal, topic, group = ResourcePatternType.LITERAL, ResourceType.TOPIC, ResourceType.GROUP
    # which topics there are, and where they end
    yield Allowed(principal, topic, "*", literal, AclOperation.DESCRIBE)
    for read in has.reads:
        yield Allowed(principal, topic, read.name, literal, AclOperation.READ)
    for written in has.writes:
        yield Allowed(principal, topic, written.name, literal, AclOperation.WRITE)
    for name in has.groups:
        by = ResourcePatternType.PREFIXED if name.endswith("*") else literal
        yield Allowed(principal, group, name.removesuffix("*"), by, AclOperation.READ)
    if has.sees_groups:
        yield Allowed(principal, group, "*", literal, AclOperation.DESCRIBE)


def apply_rights(settings: Settings) -> None:
    """Give every principal of the table its password and its rights, and take away what the table does not give.

    Principals that are not in the table keep what somebody gave them.

    Raises:
        StackError: the broker refused, or did not answer.
    """
    admin = new_admin(acting_as(settings, BROKER).kafka)
    try:
        _set_passwords(admin, settings)
        _set_lists(admin)
    except KafkaException as error:
        raise StackError(f"Kafka's users and rights could not be set: {error.args[0].str()}") from error


def _set_passwords(admin: AdminClient, settings: Settings) -> None:
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
    users = [
        UserScramCredentialUpsertion(
            principal, how, settings.secure_files.password(principal).read_bytes().strip()
        )
        for principal in RIGHTS
    ]
    for future in admin.alter_user_scram_credentials(users).values():
        future.result(timeout=ANSWER_WITHIN_S)


def _set_lists(admin: AdminClient) -> None:
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    ours = {f"User:{principal}" for principal in RIGHTS}
    found = {_key(entry): entry for entry in admin.describe_acls(everything).result(timeout=ANSWER_WITHIN_S)}
    wanted = {_key(entry.binding): entry.binding for entry in allowed(RIGHTS)}
    surplus = [
        _exactly(entry) for key, entry in found.items() if entry.principal in ours and key not in wanted
    ]
    absent = [entry for key, entry in wanted.items() if key not in found]
    # first what is missing: a running process must not lose what it keeps
    for future in (admin.create_acls(absent) if absent else {}).values():
        future.result(timeout=ANSWER_WITHIN_S)
    for future in (admin.delete_acls(surplus) if surplus else {}).values():
        future.result(timeout=ANSWER_WITHIN_S)


def _key(entry: AclBinding) -> tuple[object, ...]:
    return (
        entry.restype, entry.name, entry.resource_pattern_type, entry.principal, entry.host, entry.operation,
        entry.permission_type,
    )  # fmt: skip


def _exactly(entry: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(*_key(entry))
