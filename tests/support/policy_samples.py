"""A stack's folder with one live bundle, whose policy is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from features.vector_layouts import OWN, Layout
from models.bundle.content import publish
from models.bundle.registry import VersionState, write_state
from models.bundle.signing import ensure_keys
from models.policy.policy import Policy
from tests.support.bundle_samples import CREATED, content, give_evidence


def publish_with(
    home: Path, policy: Policy, version: str = "1.0.0", state: str = "live", layout: Layout = OWN
) -> None:
    """Publish the sample model with a policy."""
    ensure_keys(home / "keys")
    publish(
        replace(content(), policy=policy, layout=layout), home / "bundles", home / "keys", model="fraud", version=version,
        created_at=CREATED,
    )  # fmt: skip
    give_evidence(home, version)
    told = VersionState(state=state, since=CREATED, by="ada", why="test")  # type: ignore[arg-type]
    write_state(home / "bundles", "fraud", version, told)
