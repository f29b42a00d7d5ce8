"""Paths of an evidence pack's files, and its hash. A module of its own: importing what makes and renders packs is slow."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.bundle.content import bundle_path

JSON, HTML, SIGNATURE = "evidence.json", "evidence.html", "evidence.sig"


def evidence_path(bundles_dir: Path, model: str, version: str, name: str = JSON) -> Path:
    """Where a file of a version's pack is."""
    folder = bundle_path(bundles_dir, model, version)
    return folder.with_name(f"{folder.name}.{name}")


def page_path(bundles_dir: Path, model: str, version: str) -> Path:
    """Where the page of a version's pack is."""
    return evidence_path(bundles_dir, model, version, HTML)


def pack_hash(bundles_dir: Path, model: str, version: str) -> str | None:
    """The hash of a version's pack as it lies there, unchecked; None if there is none."""
    try:
        return hashlib.sha256(evidence_path(bundles_dir, model, version).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None
