"""The live bundle and its drift reference: `rollouts` names the bundle, the reference is read from its folder."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import msgspec

from features.vector_layouts import OWN, aligned_columns
from models.bundle.manifest import MANIFEST, Manifest, layout_of
from models.bundle.reference import Reference, load_reference
from streams.contracts.rollout import RolloutRecord
from streams.log.rollout_feed import follow_rollouts
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)

_JOIN_S = 5.0


class LiveModel:
    """Follows `rollouts` for one model in its own thread; ``look`` never waits and returns each change once."""

    def __init__(self, settings: Settings, model: str) -> None:
        self._model, self._bundles = model, settings.bundles_dir / model
        self._champion = self._seen = ""
        self._stop = threading.Event()
        self._thread = follow_rollouts(settings, self._stop, self._told)

    def look(self) -> tuple[str, Reference] | None:
        """(version, its reference) if another bundle has become live and its reference is readable, else None."""
        champion = self._champion
        if champion == self._seen:
            return None
        self._seen = champion
        reference = read_reference(self._bundles / champion)
        return None if reference is None else (champion, reference)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)

    def _told(self, record: RolloutRecord) -> None:
        if record.model == self._model:
            self._champion = record.champion


def read_reference(bundle: Path) -> Reference | None:
    """A bundle's reference in this code's columns, NaN in columns that the bundle's catalogue lacks; None if unusable."""
    path = bundle / "reference.npz"
    try:
        reference = load_reference(path)
        layout = layout_of(msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest))
    except (OSError, ValueError) as error:
        logger.error("drift of this bundle is not tested: its reference %s cannot be read (%s)", path, error)
        return None
    places = OWN.places_in(layout)
    if reference.names != layout.names or (places < 0).all():
        logger.error(
            "drift of this bundle is not tested: its reference %s has another feature catalogue", path
        )
        return None
    matrix = aligned_columns(reference.matrix, places)
    return replace(reference, matrix=matrix, names=OWN.names)
