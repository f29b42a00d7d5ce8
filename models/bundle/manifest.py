"""A bundle's manifest: what it says it is, each file's digest, and the layout of the vectors that its model takes.

No signature is checked here; the drift stream's environment, which has no cryptography, reads manifests too.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from features.definitions import Layout

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``definitions``: of the features, in the order of ``feature_names``."""

    model: str
    version: str
    catalogue_hash: str
    feature_names: list[str]
    created_at: datetime
    files: dict[str, str]
    definitions: list[str]


def layout_of(manifest: Manifest) -> Layout:
    """The columns of the bundle's model.

    Raises:
        ValueError: a name stands twice, or without a definition.
    """
    return Layout(manifest.catalogue_hash, tuple(manifest.feature_names), tuple(manifest.definitions))
