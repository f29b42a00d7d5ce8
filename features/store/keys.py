"""Builds the Redis keys of state: ``{t3}v1:card:ID``.

The braces hold the state partition: a letter for its topic, and its number. Redis Cluster chooses a slot by the text in braces only (a
*hash tag*), so everything that is written with one partition's position lies in one slot: profiles, position, epoch, applied
source offsets, label statements. The version of the state follows (decision 18), so versions share no key.
"""

from __future__ import annotations

import re

from features.profile.records import STATE_VERSION
from features.store.partitions import entity_partition, partitions_of
from features.store.views import TRANSACTIONS, VIEWS, View

_NAMES = "|".join(view.name for view in VIEWS)
#: patterns of a profile's key, and of any key of a version
_PROFILE = re.compile(rf"\{{[te]\d+\}}v(\d+):(?:{_NAMES}):".encode(), re.DOTALL)
_VERSION = re.compile(rb"\{[te]\d+\}v(\d+):")
#: glob for all keys of state; it also matches others, so check each key with ``profile_version`` or ``version_of``
EVERY_STATE_KEY = "{[te]*}v*:*"


def slot_tag(topic: str, partition: int) -> str:
    """Prefix of a partition's keys. Topics with positions have different first letters."""
    return f"{{{topic[0]}{partition}}}"


def group_of(version: int) -> str:
    """The name of a version's lease group, which is also the version's part in its keys."""
    return f"v{version}"


GROUP = group_of(STATE_VERSION)


def partition_of(view: View, entity_id: str, partitions: int) -> int:
    """The partition of the view's topic on which an entity is kept."""
    if view.topic == TRANSACTIONS:
        return int(partitions_of([entity_id], partitions)[0])
    return entity_partition(view.entity, entity_id, partitions)


def key_start(view: View, partition: int, version: int = STATE_VERSION) -> bytes:
    """Prefix of the keys of a view's entities on a partition; the id follows."""
    return f"{slot_tag(view.topic, partition)}{group_of(version)}:{view.name}:".encode()


def key(view: View, entity_id: str, partitions: int, version: int = STATE_VERSION) -> bytes:
    """The key of one entity's profile in a view; ``partitions``: per topic."""
    return key_start(view, partition_of(view, entity_id, partitions), version) + entity_id.encode()


def profile_version(found: bytes) -> int | None:
    """The state version of a profile's key; None if the key is not a profile's."""
    match = _PROFILE.match(found)
    return int(match[1]) if match else None


def version_of(found: bytes) -> int | None:
    """The state version of any key of state; None if the key belongs to no version."""
    match = _VERSION.match(found)
    return int(match[1]) if match else None


def applied_key(partition: int, group: str = GROUP) -> str:
    """Key of a hash: last applied offset of each source on a partition of `entities`."""
    return f"{slot_tag('entities', partition)}{group}:applied"


def label_statement_key(partition: int, told_of: str, group: str = GROUP) -> str:
    """Key of the last label statement on one transaction and entity (``told_of``), on a partition of `entities`."""
    return f"{slot_tag('entities', partition)}{group}:said:{told_of}"


def epoch_key(topic: str, partition: int, group: str) -> str:
    """Key of a partition's epoch: how often it was leased."""
    return f"{slot_tag(topic, partition)}{group}:epoch"


def position_key(topic: str, partition: int, group: str) -> str:
    """Key of a partition's position: the next offset to apply."""
    return f"{slot_tag(topic, partition)}{group}:position"
