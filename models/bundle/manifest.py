"""A bundle's manifest: what it says it is, each file's digest, and the layout of the vectors that its model takes.

No signature is checked here; the drift stream's environment, which has no cryptography, reads manifests too.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from features.definitions import OWN, Layout

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``definitions`` by feature name; none in a manifest from before they were kept."""

    model: str
    version: str
    catalogue_hash: str
    feature_names: list[str]
    created_at: datetime
    files: dict[str, str]
    definitions: dict[str, str] = {}


def layout_of(manifest: Manifest) -> Layout:
    """The columns of the bundle's model. Where the manifest does not define them, only the very same catalogue knows them.

    Raises:
        ValueError: a name stands twice.
    """
    names = tuple(manifest.feature_names)
    if (manifest.catalogue_hash, names) == (OWN.catalogue, OWN.names):
        return OWN
    return Layout(manifest.catalogue_hash, names, tuple(manifest.definitions.get(name, "") for name in names))


def definitions_of(layout: Layout) -> dict[str, str]:
    """What a manifest says of a layout's entries; nothing of those that are not known."""
    return {name: known for name, known in zip(layout.names, layout.definitions, strict=True) if known}
