"""Rollout records that count: the rollout process signed them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from streams.access.directory import Directory
from streams.access.signatures import Forged, check_may
from streams.access.signed_record import Signed
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.rollout import RolloutRecord, decode_rollout
from streams.log.rollouts.kept import kept
from streams.log.topics import ROLLOUTS

logger = logging.getLogger(__name__)


def verified_record(record: Signed, directory: Directory) -> RolloutRecord:
    """The rollout record in a signed value.

    Raises:
        Forged: the rollout process did not sign it, or it does not parse.
    """
    check_may(directory, ROLLOUTS.name, record, "serve")
    try:
        return decode_rollout(record.value)
    except InvalidEvent as error:
        raise Forged("unreadable", f"it does not parse: {error}") from error


def kept_records(folder: Path, directory: Directory) -> Iterator[tuple[RolloutRecord, Signed]]:
    """The records stored on disk (``streams.log.rollouts.kept``) that verify; others are logged and left out."""
    for record in kept(folder):
        try:
            yield verified_record(record, directory), record
        except Forged as error:
            logger.error("a record in %s is not taken: %s", folder, error)
