"""How the keys of state are made: ``{t3}v1:card:ID``.

In braces stands the state partition, a letter for its topic and its number. Redis Cluster takes what is in braces for the whole
key when it chooses a slot (a *hash tag*), so everything that is written with one partition's position lies in one slot: profiles,
position, epoch, how far each source is applied, what labels said. Then comes the version of the state (decision 18): versions share no key.
"""

from __future__ import annotations

import re

from features.profile.records import STATE_VERSION
from features.store.partitions import entity_partition, partitions_of
from features.store.views import TRANSACTIONS, VIEWS, View

_NAMES = "|".join(view.name for view in VIEWS)
#: of a profile, and of anything of a version
_PROFILE = re.compile(rf"\{{[te]\d+\}}v(\d+):(?:{_NAMES}):".encode(), re.DOTALL)
_VERSION = re.compile(rb"\{[te]\d+\}v(\d+):")
#: glob that finds what ``profile_version`` and ``version_of`` are then asked about; it finds others too
EVERY_STATE_KEY = "{[te]*}v*:*"


def slot_tag(topic: str, partition: int) -> str:
    """What the keys of a partition begin with. The letters of topics that have positions differ."""
    return f"{{{topic[0]}{partition}}}"


def group_of(version: int) -> str:
    """The group of a version's leases, and the version in its keys."""
    return f"v{version}"


GROUP = group_of(STATE_VERSION)


def partition_of(view: View, entity_id: str, partitions: int) -> int:
    """The partition of the view's topic on which an entity is kept."""
    if view.topic == TRANSACTIONS:
        return int(partitions_of([entity_id], partitions)[0])
    return entity_partition(view.entity, entity_id, partitions)


def key_start(view: View, partition: int, version: int = STATE_VERSION) -> bytes:
    """What keys of a view's entities on a partition begin with; then comes the id."""
    return f"{slot_tag(view.topic, partition)}{group_of(version)}:{view.name}:".encode()


def key(view: View, entity_id: str, partitions: int, version: int = STATE_VERSION) -> bytes:
    """The key of one entity's string in a view; ``partitions``: of the topics."""
    return key_start(view, partition_of(view, entity_id, partitions), version) + entity_id.encode()


def profile_version(found: bytes) -> int | None:
    """Of which version of the state a key holds a profile; None where it holds something else."""
    match = _PROFILE.match(found)
    return int(match[1]) if match else None


def version_of(found: bytes) -> int | None:
    """To which version of the state a key belongs, whatever it holds; None where to none."""
    match = _VERSION.match(found)
    return int(match[1]) if match else None


def applied_key(partition: int, group: str = GROUP) -> str:
    """Hash of how far each source is applied on a partition of `entities`."""
    return f"{slot_tag('entities', partition)}{group}:applied"


def label_statement_key(partition: int, told_of: str, group: str = GROUP) -> str:
    """What labels said last of one transaction and entity (``told_of``), on a partition of `entities`."""
    return f"{slot_tag('entities', partition)}{group}:said:{told_of}"


def epoch_key(topic: str, partition: int, group: str) -> str:
    """How often a partition was taken."""
    return f"{slot_tag(topic, partition)}{group}:epoch"


def position_key(topic: str, partition: int, group: str) -> str:
    """Up to which offset a partition is applied."""
    return f"{slot_tag(topic, partition)}{group}:position"
