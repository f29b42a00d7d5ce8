"""The live bundle and its drift reference: the record that the rollout process keeps on disk names the bundle.

The topic `rollouts` is not read here: its signatures would have to be verified, and this reads the bundle's files anyway.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import msgspec

from features.vector_layouts import OWN, aligned_columns
from models.bundle.attribute_columns import AttributeColumns, read_attributes
from models.bundle.manifest import MANIFEST, Manifest, layout_of
from models.bundle.reference import Reference, load_reference
from streams.log.rollouts.kept import kept_rollout
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)


class LiveModel:
    """Looks for the live bundle of one model; ``look`` returns each change once."""

    def __init__(self, settings: Settings, model: str) -> None:
        self._model, self._bundles, self._rollouts = model, settings.bundles_dir / model, settings.rollout_dir
        self._seen = ""

    def look(self) -> tuple[str, Reference, AttributeColumns] | None:
        """(version, its reference, its attributes) if another bundle has become live and its reference is readable, else None."""
        record = kept_rollout(self._rollouts, self._model)
        if record is None or record.champion == self._seen:
            return None
        self._seen = record.champion
        found = read_reference(self._bundles / record.champion)
        return None if found is None else (record.champion, *found)


def read_reference(bundle: Path) -> tuple[Reference, AttributeColumns] | None:
    """A bundle's reference in this code's columns, NaN in columns that the bundle's catalogue lacks, then the attributes that its model
    takes; None if unusable."""
    path = bundle / "reference.npz"
    try:
        reference = load_reference(path)
        layout = layout_of(msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest))
        attributes = read_attributes(bundle, layout)
    except (OSError, ValueError) as error:
        logger.error("drift of this bundle is not tested: its reference %s cannot be read (%s)", path, error)
        return None
    ours = attributes.behind(OWN)
    places = ours.places_in(layout)
    if reference.names != layout.names or (places < 0).all():
        logger.error(
            "drift of this bundle is not tested: its reference %s has another feature catalogue", path
        )
        return None
    matrix = aligned_columns(reference.matrix, places)
    return replace(reference, matrix=matrix, names=ours.names), attributes
