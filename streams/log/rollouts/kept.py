"""The newest signed rollout record of each model on disk: ``<home>/rollout/MODEL.record.json``.

Whoever may write to `rollouts` can send an old record again, and compaction then removes the newest. The copy on disk tells
which one is in force. Only the rollout process writes it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from streams.access.private_files import write_private
from streams.access.signed_record import Signed
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.rollout import RolloutRecord, decode_rollout

logger = logging.getLogger(__name__)
_SUFFIX = ".record.json"


def keep(folder: Path, model: str, record: Signed) -> None:
    """Store the newest record of a model."""
    write_private(folder / f"{model}{_SUFFIX}", msgspec.json.encode(record))


def kept(folder: Path) -> Iterator[Signed]:
    """The stored records, as they are; one that cannot be read is logged and left out."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=Signed)
        except (OSError, ValueError) as error:
            logger.error("%s cannot be read: %s", path, error)


def kept_rollout(folder: Path, model: str) -> RolloutRecord | None:
    """The stored record of a model, without its signature verified: for readers that trust the folder."""
    try:
        found = msgspec.json.decode((folder / f"{model}{_SUFFIX}").read_bytes(), type=Signed)
        return decode_rollout(found.value)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, InvalidEvent) as error:
        logger.error("the rollout record of %s in %s cannot be read: %s", model, folder, error)
        return None
