"""A bundle: a signed folder with the model, its feature columns, policy, calibration, drift reference, evaluation and lineage.

``<bundles>/<model>/<version>/`` holds the files below. ``manifest.json`` lists each with its SHA-256, ``manifest.sig`` signs the
manifest. A bundle with any fault is refused as a whole (invariant 7). Every file is read once, into memory, so the bytes used
are the bytes checked.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from features.attributes import Attributes
from features.vector_layouts import OWN, Layout
from models.bundle.attribute_columns import ATTRIBUTES, NO_COLUMNS, AttributeColumns, decode_attributes
from models.bundle.manifest import MANIFEST, Manifest, layout_of
from models.bundle.reference import Reference, load_reference, reference_bytes
from models.bundle.signing import KeyProblem, is_signed, sign
from models.policy.policy import Policy, PolicyError, parse_policy
from models.scoring.calibration import Calibration, CalibrationError

MODEL = "fraud"
FILES = (
    "model.ubj", "model.onnx", "calibration.json", "policy.json", "reference.npz", "evaluation.json", "lineage.json",
)  # fmt: skip
SIGNATURE = "manifest.sig"
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
#: a larger file is taken for a mistake and not read
MAX_FILE_BYTES = 512 * 2**20


class BundleRefused(Exception):
    """A bundle that must not be served. ``reason`` is a metric label; the text is for people.

    Reasons: ``missing``, ``signature``, ``hash``, ``catalogue``, ``attributes``, ``unparsable``, ``keys``.
    """

    #: exit code of commands that fail with it: a check failed
    exit_code = 1

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class BundleExists(Exception):
    """This version is already published; versions are never overwritten."""


@dataclass(frozen=True)
class BundleContent:
    """The content to publish: the model in both formats and everything that belongs to it.

    The model's inputs and the reference's columns follow ``layout``: the catalogue's, then ``attributes``.
    """

    model_ubj: bytes
    model_onnx: bytes
    calibration: Calibration
    policy: Policy
    reference: Reference
    evaluation: dict[str, Any]
    lineage: dict[str, Any]
    layout: Layout
    attributes: AttributeColumns = field(default=NO_COLUMNS, kw_only=True)


@dataclass(frozen=True)
class Bundle(BundleContent):
    """A bundle that has been checked. ``path`` is its folder; the bytes held here are the ones that were checked."""

    model: str
    version: str
    path: Path
    created_at: datetime

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.layout.names


def parse_version(version: str) -> tuple[int, int, int]:
    """(major, minor, patch).

    Raises:
        ValueError: not three numbers separated by dots.
    """
    found = _VERSION.fullmatch(version)
    if not found:
        raise ValueError(f"{version!r} is not a version such as 1.4.0")
    return int(found[1]), int(found[2]), int(found[3])


def bundle_path(bundles_dir: Path, model: str, version: str) -> Path:
    """The folder of a version. Names come from requests, so they are checked before they are used in a path.

    Raises:
        ValueError: model or version is malformed.
    """
    parse_version(version)
    if not _NAME.fullmatch(model):
        raise ValueError(f"{model!r} is not a model name: lower-case letters, digits and dashes")
    return Path(bundles_dir) / model / version


def publish(
    content: BundleContent,
    bundles_dir: Path,
    keys_dir: Path,
    *,
    model: str,
    version: str,
    created_at: datetime,
) -> Path:
    """Write, sign and publish a bundle; it appears complete under its version, or not at all.

    Raises:
        BundleExists: that version is already published.
        KeyProblem: it cannot be signed.
    """
    target = bundle_path(bundles_dir, model, version)
    files = _encode(content)
    manifest = Manifest(
        model=model, version=version, catalogue_hash=content.layout.catalogue, created_at=created_at,
        feature_names=list(content.layout.names), definitions=list(content.layout.definitions),
        files={name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()},
    )  # fmt: skip
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    files[SIGNATURE] = sign(files[MANIFEST], keys_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise BundleExists(f"{target} exists: publish the next version")
    folder = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=target.parent))
    try:
        for name, raw in files.items():
            with (folder / name).open("wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
        _sync_folder(folder)
        _rename(folder, target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def load_bundle(path: Path, trusted_keys_dir: Path, running: Layout | None = OWN) -> Bundle:
    """Read and check a bundle. It fits if ``running`` has each of its features with the same definition.

    Args:
        path: the version's folder.
        trusted_keys_dir: folder of ``*.pub`` files (Ed25519, PEM).
        running: the columns of the features that will be computed; None: not checked.

    Raises:
        BundleRefused: with its reason; nothing of the bundle may be used.
    """
    path = Path(path)
    raw_manifest = _read(path / MANIFEST)
    try:
        signed = is_signed(raw_manifest, _read(path / SIGNATURE), trusted_keys_dir)
    except KeyProblem as error:
        raise BundleRefused("keys", f"{path}: {error}") from error
    if not signed:
        raise BundleRefused(
            "signature", f"{path}: none of the keys in {trusted_keys_dir} signed its manifest"
        )
    try:
        manifest = msgspec.json.decode(raw_manifest, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleRefused("unparsable", f"{path / MANIFEST}: {error}") from error
    if (manifest.model, manifest.version) != (path.parent.name, path.name):
        raise BundleRefused("signature", f"{path} holds the bundle of {manifest.model} {manifest.version}")
    layout = _layout(path, manifest)
    if running is not None:
        check_fits(path, layout, running)
    names = [*FILES, ATTRIBUTES] if ATTRIBUTES in manifest.files else FILES
    return _decode(path, manifest, layout, {name: _checked(path, manifest, name) for name in names})


def check_fits(path: Path, layout: Layout, running: Layout) -> None:
    """Raises: BundleRefused, naming the features that ``running`` lacks or defines differently. Attributes are not looked at."""
    if why := layout.features.misfit(running):
        raise BundleRefused(
            "catalogue",
            f"{path} was trained on features of catalogue {layout.catalogue}, which {running.catalogue} does not provide "
            f"({why}): train a new model",
        )


def check_declared(path: Path, needed: AttributeColumns, declared: Attributes) -> None:
    """Raises: BundleRefused, naming the attributes that a model needs and a stack does not declare as it was trained with them."""
    if missing := needed.missing_in(declared):
        raise BundleRefused(
            "attributes",
            f"{path} was trained with attributes that settings.toml does not declare: {', '.join(missing)}; declare them again, or "
            "train a new model",
        )


def _layout(path: Path, manifest: Manifest) -> Layout:
    try:
        return layout_of(manifest)
    except ValueError as error:
        raise BundleRefused("unparsable", f"{path / MANIFEST}: {error}") from error


def _checked(path: Path, manifest: Manifest, name: str) -> bytes:
    if name not in manifest.files:
        raise BundleRefused("missing", f"{path}: the manifest does not name {name}")
    raw = _read(path / name)
    if hashlib.sha256(raw).hexdigest() != manifest.files[name]:
        raise BundleRefused("hash", f"{path / name} is not the file that was signed")
    return raw


def _encode(content: BundleContent) -> dict[str, bytes]:
    own = {ATTRIBUTES: msgspec.json.encode(content.attributes.columns)} if content.attributes else {}
    return {
        **own,
        "model.ubj": content.model_ubj,
        "model.onnx": content.model_onnx,
        "calibration.json": msgspec.json.encode(content.calibration),
        "policy.json": content.policy.to_json(),
        "reference.npz": reference_bytes(content.reference),
        "evaluation.json": msgspec.json.format(msgspec.json.encode(content.evaluation), indent=2),
        "lineage.json": msgspec.json.format(msgspec.json.encode(content.lineage), indent=2),
    }


def _decode(path: Path, manifest: Manifest, layout: Layout, raw: dict[str, bytes]) -> Bundle:
    name = ""
    try:
        name = "calibration.json"
        calibration = msgspec.json.decode(raw[name], type=Calibration)
        name = "policy.json"
        policy = parse_policy(raw[name])
        name = "reference.npz"
        reference = load_reference(raw[name])
        name = "evaluation.json"
        evaluation = msgspec.json.decode(raw[name], type=dict[str, Any])
        name = "lineage.json"
        lineage = msgspec.json.decode(raw[name], type=dict[str, Any])
        name = ATTRIBUTES
        attributes = decode_attributes(raw.get(name, b"[]"), layout)
    except (
        msgspec.MsgspecError,
        PolicyError,
        CalibrationError,
        ValueError,
        KeyError,
        OSError,
        EOFError,
    ) as error:
        raise BundleRefused("unparsable", f"{path / name}: {error}") from error
    return Bundle(
        model_ubj=raw["model.ubj"], model_onnx=raw["model.onnx"], calibration=calibration, policy=policy,
        reference=reference, evaluation=evaluation, lineage=lineage, model=manifest.model, version=manifest.version,
        layout=layout, attributes=attributes, path=path, created_at=manifest.created_at,
    )  # fmt: skip


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleRefused("unparsable", f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise BundleRefused("missing", f"{path} cannot be read: {error.strerror}") from error


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if target.exists():
            raise BundleExists(f"{target} exists: publish the next version") from error
        raise


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
