"""The served model published again under the next version, so that only what a benchmark changes differs."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import msgspec

from models.bundle.content import MODEL, Bundle, publish
from models.bundle.registry import VersionState, next_version, write_state
from models.evidence.pack import made_pack, write_pack
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import Settings


def publish_again(settings: Settings, bundle: Bundle, why: str, **of_policy: Any) -> str:
    """Publish a bundle again with other fields of its policy, awaiting approval; returns the version."""
    version, now = next_version(settings.bundles_dir, MODEL), datetime.now(UTC)
    policy = msgspec.structs.replace(bundle.policy, version=version, **of_policy)
    content = dataclasses.replace(bundle, policy=policy)
    publish(content, settings.bundles_dir, settings.keys_dir, model=MODEL, version=version, created_at=now)
    pack = made_pack(verified_bundle(settings, version), bundle, None, now=now)
    write_pack(settings.bundles_dir, settings.keys_dir, pack)
    state = VersionState(state="awaiting approval", since=now, by="bench", why=why)
    write_state(settings.bundles_dir, MODEL, version, state)
    return version
