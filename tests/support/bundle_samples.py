"""A small trained model and its bundle, made once for all tests that need one."""

from __future__ import annotations

import dataclasses
import functools
from datetime import UTC, datetime, timedelta
from pathlib import Path

from models.bundle.content import BundleContent, load_bundle, publish
from models.bundle.signing import ensure_keys
from models.evidence.pack import made_pack, write_pack
from models.training.learners.parameters import Parameters
from models.training.training import Trained, bundle_content, train
from tests.support.models_data import make_dataset

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUICK = Parameters(rounds=30, max_depth=4, threads=1)


@functools.cache
def trained() -> Trained:
    return train(make_dataset(), QUICK, policy_version="1")


@functools.cache
def content() -> BundleContent:
    return bundle_content(trained(), created_at=CREATED.isoformat(), code_version="test", extra={})


def give_evidence(home: Path, version: str) -> str:
    """An evidence pack of a published version, as one that only changes the policy; returns its hash."""
    bundle = load_bundle(home / "bundles" / "fraud" / version, home / "keys" / "trusted", running=None)
    pack = made_pack(bundle, bundle, None, now=CREATED, valid=timedelta(days=36_500))
    return write_pack(home / "bundles", home / "keys", pack)


def publish_sample(home: Path, version: str = "1.0.0", author: str | None = None) -> tuple[Path, Path]:
    """(bundle folder, folder of trusted keys) under ``home``, with evidence; ``author``: the person who proposed it."""
    trusted = ensure_keys(home / "keys")
    made = content()
    if author is not None:
        made = dataclasses.replace(made, lineage={**made.lineage, "proposed_by": author})
    path = publish(made, home / "bundles", home / "keys", model="fraud", version=version, created_at=CREATED)
    give_evidence(home, version)
    return path, trusted
