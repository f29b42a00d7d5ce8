"""A bundle's manifest: its name and version, each file's digest, and the columns of the vectors that its model takes.

It is read without checking the signature: the environment of the drift process has no cryptography library.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from features.vector_layouts import Layout

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``feature_names``: the model's columns: features of the catalogue, then attributes of one's own that it needs
    (``attributes.NAME``). ``definitions``: in the same order.
    """

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
        ValueError: a name occurs twice, or has no definition.
    """
    return Layout(manifest.catalogue_hash, tuple(manifest.feature_names), tuple(manifest.definitions))
