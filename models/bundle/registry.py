"""The bundles of a stack on disk, and the state of each, stored beside its signed folder: ``<model>/<version>.state.json``.

Only the trainer (on publication) and the rollout process (after it) write states; each write replaces the whole file.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from models.bundle.content import bundle_path, parse_version
from models.bundle.manifest import MANIFEST, Manifest

State = Literal["published", "awaiting approval", "approved", "live", "superseded", "rejected", "rolled back"]


class VersionState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a version: since when, set by whom and why, and whether it was ever reviewed."""

    state: State
    since: datetime
    by: str
    why: str = ""
    #: whose key signed the request
    signed_by: str = ""
    #: somebody else than who trained or proposed it has approved it
    reviewed: bool = False


def versions(bundles_dir: Path, model: str) -> list[str]:
    """Published versions, oldest first."""
    folder = Path(bundles_dir) / model
    found = [
        path.name
        for path in folder.glob("*")
        if (path / MANIFEST).is_file() and not path.name.startswith(".")
    ]
    return sorted((name for name in found if _is_version(name)), key=parse_version)


def next_version(bundles_dir: Path, model: str) -> str:
    """The next minor version; 1.0.0 for the first."""
    present = versions(bundles_dir, model)
    if not present:
        return "1.0.0"
    major, minor, _ = parse_version(present[-1])
    return f"{major}.{minor + 1}.0"


def next_policy_version(bundles_dir: Path, model: str) -> str:
    """One more than the highest number among published policies; "1" for the first."""
    found = [
        str(peek(bundles_dir, model, version, "policy.json").get("version", ""))
        for version in versions(bundles_dir, model)
    ]
    return str(max((int(number) for number in found if number.isdigit()), default=0) + 1)


def next_patch(bundles_dir: Path, model: str, version: str) -> str:
    """The next free patch version of ``version``: 1.4.1 after 1.4.0. For a new policy with the same model."""
    present = set(versions(bundles_dir, model))
    major, minor, patch = parse_version(version)
    while f"{major}.{minor}.{patch}" in present:
        patch += 1
    return f"{major}.{minor}.{patch}"


def read_state(bundles_dir: Path, model: str, version: str) -> VersionState | None:
    """The state of a version; None if there is none or it does not parse (the version then counts as not approved)."""
    try:
        return msgspec.json.decode(_state_path(bundles_dir, model, version).read_bytes(), type=VersionState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write_state(bundles_dir: Path, model: str, version: str, state: VersionState) -> None:
    """Replace a version's state file."""
    path = _state_path(bundles_dir, model, version)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    tmp.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2))
    tmp.replace(path)


def states(bundles_dir: Path, model: str) -> dict[str, State]:
    """State per published version; ``published`` where none was written."""
    out: dict[str, State] = {}
    for version in versions(bundles_dir, model):
        state = read_state(bundles_dir, model, version)
        out[version] = state.state if state else "published"
    return out


def peek(bundles_dir: Path, model: str, version: str, name: str) -> dict[str, object]:
    """``evaluation.json`` or ``lineage.json`` of a version, for display only: not verified. Empty if unreadable."""
    try:
        raw = (bundle_path(bundles_dir, model, version) / name).read_bytes()
        return msgspec.json.decode(raw, type=dict[str, object])
    except (OSError, ValueError, msgspec.MsgspecError):
        return {}


def created_at(bundles_dir: Path, model: str, version: str) -> datetime | None:
    """When a version was created, from its manifest (not verified)."""
    try:
        raw = (bundle_path(bundles_dir, model, version) / MANIFEST).read_bytes()
        return msgspec.json.decode(raw, type=Manifest).created_at
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def _state_path(bundles_dir: Path, model: str, version: str) -> Path:
    folder = bundle_path(bundles_dir, model, version)
    return folder.with_name(f"{folder.name}.state.json")


def _is_version(name: str) -> bool:
    try:
        parse_version(name)
    except ValueError:
        return False
    return True
