"""A bundle is published whole and signed; whatever does not fit is refused as a whole, with its reason."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from features.catalogue import NAMES
from features.vector_layouts import OWN, Layout
from models.bundle.content import (
    FILES,
    SIGNATURE,
    BundleExists,
    BundleRefused,
    bundle_path,
    load_bundle,
    publish,
)
from models.bundle.manifest import MANIFEST
from models.bundle.reference import REFERENCE_ROWS
from models.bundle.signing import KeyProblem, ensure_keys, sign
from tests.support.bundle_samples import CREATED, content, publish_sample
from tests.support.catalogue_samples import BEFORE, NEW, bundle_before, layout, publish_before


def refused(path: Path, trusted: Path, **more: Layout) -> str:
    with pytest.raises(BundleRefused) as caught:
        load_bundle(path, trusted, **more)
    return caught.value.reason


def resign(path: Path, manifest: dict) -> None:
    raw = msgspec.json.encode(manifest)
    (path / MANIFEST).write_bytes(raw)
    (path / SIGNATURE).write_bytes(sign(raw, path.parents[2] / "keys"))


def test_there_and_back(tmp_path: Path) -> None:
    path, trusted = publish_sample(tmp_path)
    bundle = load_bundle(path, trusted)
    sample = content()
    assert (bundle.model, bundle.version, bundle.feature_names) == ("fraud", "1.0.0", NAMES)
    assert bundle.policy == sample.policy and bundle.calibration == sample.calibration
    assert bundle.model_ubj == sample.model_ubj and bundle.model_onnx == sample.model_onnx
    np.testing.assert_array_equal(bundle.reference.matrix, sample.reference.matrix)
    assert 0 < len(bundle.reference.scores) <= REFERENCE_ROWS
    assert bundle.evaluation["rows"] > 0 and len(bundle.lineage["data_fingerprint"]) == 64
    # beside it only what a person reads before approving it: nothing half-written
    beside = {item.name for item in path.parent.iterdir()} - {path.name}
    assert all(name.startswith("1.0.0.evidence.") for name in beside)


def test_the_signing_key_is_private_and_kept(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    key = (tmp_path / "signing.key").read_bytes()
    ensure_keys(tmp_path)
    assert (tmp_path / "signing.key").read_bytes() == key
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    publish_sample(tmp_path)
    with pytest.raises(BundleExists):
        publish_sample(tmp_path)


def test_what_cannot_be_signed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem):
        publish(content(), tmp_path / "bundles", tmp_path, model="fraud", version="1.0.0", created_at=CREATED)
    assert not list(tmp_path.rglob("model.ubj"))


def test_a_disk_that_fills_leaves_nothing_half_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is the first that does not fit, and the version can be published later."""
    synced = os.fsync
    keys = tmp_path / "keys"
    ensure_keys(keys)
    for room in range(len(FILES) + 3):
        left = iter(range(room))

        def full(descriptor: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            synced(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            publish(content(), tmp_path / "bundles", keys, model="fraud", version="1.0.0", created_at=CREATED)
        assert list((tmp_path / "bundles" / "fraud").iterdir()) == []
    monkeypatch.setattr(os, "fsync", synced)
    publish(content(), tmp_path / "bundles", keys, model="fraud", version="1.0.0", created_at=CREATED)


@pytest.mark.parametrize("name", [*FILES, MANIFEST, SIGNATURE])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    path, trusted = publish_sample(tmp_path)
    (path / name).unlink()
    assert refused(path, trusted) == "missing"


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_a_file(tmp_path: Path, name: str) -> None:
    path, trusted = publish_sample(tmp_path)
    raw = bytearray((path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (path / name).write_bytes(raw)
    assert refused(path, trusted) == "hash"


def test_a_changed_manifest_and_a_stranger(tmp_path: Path) -> None:
    path, trusted = publish_sample(tmp_path)
    stranger = ensure_keys(tmp_path / "stranger")
    assert refused(path, stranger) == "signature"
    (path / MANIFEST).write_bytes((path / MANIFEST).read_bytes().replace(b"1.0.0", b"9.0.0"))
    assert refused(path, trusted) == "signature"


def test_no_trusted_key_at_all(tmp_path: Path) -> None:
    path, _ = publish_sample(tmp_path)
    (tmp_path / "none").mkdir()
    assert refused(path, tmp_path / "none") == "keys"


def test_a_good_bundle_under_another_version(tmp_path: Path) -> None:
    path, trusted = publish_sample(tmp_path)
    shutil.copytree(path, path.parent / "1.1.0")
    assert refused(path.parent / "1.1.0", trusted) == "signature"


def text_of_refusal(path: Path, trusted: Path, running: Layout = OWN) -> str:
    with pytest.raises(BundleRefused) as caught:
        load_bundle(path, trusted, running)
    assert caught.value.reason == "catalogue"
    return str(caught.value)


def test_a_bundle_of_an_older_catalogue_fits_where_all_its_features_are(tmp_path: Path) -> None:
    bundle = bundle_before(tmp_path)
    assert bundle.layout == BEFORE
    assert bundle.feature_names == BEFORE.names == bundle.reference.names


def test_a_bundle_of_a_newer_catalogue_is_refused_by_older_code_and_names_what_lacks(tmp_path: Path) -> None:
    path, trusted = publish_sample(tmp_path)
    said = text_of_refusal(path, trusted, BEFORE)
    assert all(name in said for name in NEW) and "train a new model" in said


def test_a_bundle_with_a_changed_entry_is_refused_and_names_it(tmp_path: Path) -> None:
    path, trusted = publish_before(tmp_path)
    running = layout("c" * 16, NAMES, changed=["card_sum_7d"])
    assert "another definition of card_sum_7d" in text_of_refusal(path, trusted, running)
    # one that the bundle does not use may change
    assert load_bundle(path, trusted, layout("c" * 16, NAMES, changed=NEW)).layout == BEFORE


def test_a_manifest_defines_each_of_its_features(tmp_path: Path) -> None:
    path, trusted = publish_sample(tmp_path)
    manifest = json.loads((path / MANIFEST).read_bytes())
    assert load_bundle(path, trusted).layout == OWN
    for definitions in (None, manifest["definitions"][:-1]):
        resign(path, manifest | {"definitions": definitions})
        with pytest.raises(BundleRefused) as refused:
            load_bundle(path, trusted)
        assert refused.value.reason == "unparsable"


def test_an_older_bundle_published_again_keeps_its_layout(tmp_path: Path) -> None:
    publish_before(tmp_path)
    again, trusted = publish_before(tmp_path, "1.0.1", policy=content().policy)
    assert load_bundle(again, trusted).layout == BEFORE


@pytest.mark.parametrize("name", ["calibration.json", "policy.json", "reference.npz", "evaluation.json"])
def test_signed_nonsense(tmp_path: Path, name: str) -> None:
    import hashlib

    path, trusted = publish_sample(tmp_path)
    (path / name).write_bytes(b"nonsense")
    manifest = msgspec.json.decode((path / MANIFEST).read_bytes())
    manifest["files"][name] = hashlib.sha256(b"nonsense").hexdigest()
    resign(path, manifest)
    assert refused(path, trusted) == "unparsable"


@pytest.mark.parametrize(
    ("model", "version"), [("../x", "1.0.0"), ("fraud", "1.0"), ("fraud", "../1.0.0"), ("", "1.0.0")]
)
def test_names_that_are_no_path(tmp_path: Path, model: str, version: str) -> None:
    with pytest.raises(ValueError):
        bundle_path(tmp_path, model, version)


def test_the_reference_loads_in_the_drift_environment(tmp_path: Path) -> None:
    python = Path(sys.prefix).parent / ".venv-drift/bin/python"
    if not python.exists():
        pytest.skip("the drift environment (.venv-drift) is not installed: `make setup` does it")
    path, _ = publish_sample(tmp_path)
    code = (
        "import sys, pathlib; from models.bundle.reference import load_reference; "
        "r = load_reference(pathlib.Path(sys.argv[1])); print(*r.matrix.shape, len(r.scores))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [python, "-c", code, path / "reference.npz"], capture_output=True, text=True, cwd=root, timeout=60,
        env={"PYTHONPATH": str(root)},
    )  # fmt: skip
    rows = len(content().reference.scores)
    assert done.stdout.split() == [str(rows), str(len(NAMES)), str(rows)], done.stderr
