"""Which bundle is live, and its drift reference: told by `rollouts`, read from the bundle's folder."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from features.catalogue import NAMES
from models.reference import Reference, load_reference
from streams.events import RolloutRecord
from streams.rollouts import follow_rollouts
from streams.settings import Settings

logger = logging.getLogger(__name__)

_JOIN_S = 5.0


class LiveModel:
    """Follows `rollouts` for one model on a thread of its own; ``look`` never waits and gives a change once."""

    def __init__(self, settings: Settings, model: str) -> None:
        self._model, self._bundles = model, settings.bundles_dir / model
        self._champion = self._seen = ""
        self._stop = threading.Event()
        self._thread = follow_rollouts(settings, self._stop, self._told)

    def look(self) -> tuple[str, Reference] | None:
        """(version, its reference) when another bundle than before is live and its reference can be read."""
        champion = self._champion
        if champion == self._seen:
            return None
        self._seen = champion
        reference = _read(self._bundles / champion / "reference.npz")
        return None if reference is None else (champion, reference)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)

    def _told(self, record: RolloutRecord) -> None:
        if record.model == self._model:
            self._champion = record.champion


def _read(path: Path) -> Reference | None:
    try:
        reference = load_reference(path)
    except (OSError, ValueError) as error:
        logger.error("no drift tests of this bundle: its reference %s cannot be read (%s)", path, error)
        return None
    if reference.names != NAMES:
        logger.error("no drift tests of this bundle: its reference %s is of another feature catalogue", path)
        return None
    return reference
