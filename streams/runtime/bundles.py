"""The published bundles of a stack."""

from __future__ import annotations

from features.vector_layouts import OWN
from models.bundle.content import MODEL, Bundle, bundle_path, load_bundle
from streams.runtime.settings import Settings


def verified_bundle(settings: Settings, version: str, *, any_catalogue: bool = False) -> Bundle:
    """A version of the stack's model, its signature and content verified.

    Args:
        any_catalogue: also a version whose features this code does not compute: its policy can be read, and nothing scored with it.

    Raises:
        BundleRefused: it is not there, or the verification failed. ValueError: ``version`` is malformed.
    """
    path = bundle_path(settings.bundles_dir, MODEL, version)
    return load_bundle(path, settings.keys_dir / "trusted", running=None if any_catalogue else OWN)
