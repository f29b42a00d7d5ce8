"""Versions as the commands and the console show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from features.vector_layouts import OWN, Layout
from models.bundle.content import MODEL, Bundle
from models.bundle.registry import created_at, peek, read_state
from streams.runtime.settings import Settings


def version_row(bundles: Path, version: str) -> dict[str, Any]:
    """A published version with its state and figures, as ``models list --json`` shows it."""
    state = read_state(bundles, MODEL, version)
    evaluation = peek(bundles, MODEL, version, "evaluation.json")
    made = created_at(bundles, MODEL, version)
    return {
        "model": MODEL, "version": version, "state": state.state if state else "published",
        "reviewed": state is not None and state.reviewed, "by": state.by if state else "", "why": state.why if state else "",
        "since": state.since.isoformat() if state else None, "created_at": made.isoformat() if made else None,
        "verdict": _verdict(evaluation),
        **{name: evaluation.get(name) for name in ("auc_roc", "average_precision", "card_precision_at_100", "rows")},
    }  # fmt: skip


def shown_version(settings: Settings, bundle: Bundle) -> dict[str, Any]:
    """A verified version whole, as ``models show --json`` shows it."""
    return {
        **version_row(settings.bundles_dir, bundle.version),
        "signature": "verified",
        "catalogue": _catalogue(bundle.layout),
        "policy": msgspec.to_builtins(bundle.policy),
        "calibration": msgspec.to_builtins(bundle.calibration),
        "evaluation": bundle.evaluation,
        "lineage": bundle.lineage,
    }


def _verdict(evaluation: dict[str, object]) -> str | None:
    """What the gates said of a version, ``pass`` or ``fail``; None where it was trained without them."""
    gates = evaluation.get("gates")
    return str(gates["verdict"]) if isinstance(gates, dict) and "verdict" in gates else None


def _catalogue(layout: Layout) -> dict[str, Any]:
    """The catalogue that a bundle was trained on, and the features of the running catalogue that it does not use."""
    unused = [name for name, place in zip(OWN.names, OWN.places_in(layout), strict=True) if place < 0]
    return {
        "trained_on": layout.catalogue, "running": OWN.catalogue, "same": layout.catalogue == OWN.catalogue,
        "does_not_use": unused,
    }  # fmt: skip
