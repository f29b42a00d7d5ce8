"""Published bundles made bad in one way each, and the record that rolls one out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from features.catalogue import CATALOGUE_HASH, NAMES
from models.bundle.content import SIGNATURE, publish
from models.bundle.manifest import MANIFEST
from models.bundle.signing import ensure_keys, sign
from streams.contracts.rollout import RolloutRecord
from tests.support.bundle_samples import CREATED, content


def rollout(version: str, sequence: int) -> RolloutRecord:
    return RolloutRecord(
        model="fraud", champion=version, previous=None, arms={}, traffic={}, state="live", approved_by="test", why="test",
        since=CREATED, sequence=sequence,
    )  # fmt: skip


def corrupt(path: Path) -> None:
    raw = bytearray((path / "model.ubj").read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (path / "model.ubj").write_bytes(raw)


def cut_short(path: Path) -> None:
    (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes()[:-100])


def unsigned(path: Path) -> None:
    (path / SIGNATURE).unlink()


def signed_by_another(path: Path) -> None:
    other = path.parent.parent.parent / "other-keys"
    ensure_keys(other)
    (path / SIGNATURE).write_bytes(sign((path / MANIFEST).read_bytes(), other))


def signed_again(path: Path, **fields: Any) -> None:
    manifest = json.loads((path / MANIFEST).read_bytes()) | fields
    (path / MANIFEST).write_bytes(json.dumps(manifest).encode())
    (path / SIGNATURE).write_bytes(sign((path / MANIFEST).read_bytes(), path.parent.parent.parent / "keys"))


def hash_of_another(path: Path) -> None:
    files = json.loads((path / MANIFEST).read_bytes())["files"]
    signed_again(path, files=files | {"model.ubj": files["model.onnx"]})


def other_catalogue(path: Path) -> None:
    signed_again(path, catalogue_hash="0" * len(CATALOGUE_HASH), definitions=["0ddba11s"] * len(NAMES))


def bundle_of_another_version(path: Path) -> None:
    shutil.rmtree(path)
    shutil.copytree(path.parent / "1.0.0", path)


def no_model(path: Path) -> None:
    shutil.rmtree(path)
    broken = dataclasses.replace(content(), model_ubj=b"{not a model")
    home = path.parent.parent.parent
    publish(broken, home / "bundles", home / "keys", model="fraud", version=path.name, created_at=CREATED)
