"""What all questions to the rest of the stack need: its settings, its commands, a place among the few that read, the live bundle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infra import stack
from models.bundle.content import MODEL, Bundle, BundleRefused, bundle_path, load_bundle
from models.bundle.registry import versions
from services.console.outside.commands import Commands
from services.console.problems import too_many, unknown
from streams.runtime.settings import Settings, load_settings

#: reads of log and archive at once: each may use a core for a second
READS, READ_WAIT_S = 3, 10.0


class Asked:
    """One stack, as its console asks it."""

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self.commands = Commands(settings.home)
        self._places = threading.BoundedSemaphore(READS)

    @property
    def settings(self) -> Settings:
        """As they are now: a mock broker chooses its address when it starts."""
        return load_settings(self._home)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A place among the few that read at once. Raises: Problem 429: none is free in time."""
        if not self._places.acquire(timeout=READ_WAIT_S):
            raise too_many("many payments are looked up at this moment", 2)
        try:
            yield
        finally:
            self._places.release()

    def _live(self) -> Bundle:
        served = stack.served_model(self.settings)
        if served is None:
            raise unknown("no model is served yet")
        return self._bundle(served["version"])

    def _bundle(self, version: str) -> Bundle:
        settings = self.settings
        if version not in versions(settings.bundles_dir, MODEL):
            raise unknown(f"there is no version {version}")
        try:
            return load_bundle(
                bundle_path(settings.bundles_dir, MODEL, version), settings.keys_dir / "trusted"
            )
        except OSError as error:
            raise BundleRefused("unreadable", str(error)) from error
