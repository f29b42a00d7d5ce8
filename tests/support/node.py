"""Where Node.js and the console's pages are, for tests that need them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB = ROOT / "services" / "console" / "web"
_OF_A_WHEEL = ROOT / ".cache" / "node" / "bin" / "node"


def node() -> str | None:
    """The Node.js that `make setup` built the pages with; None if there is none."""
    found = shutil.which("node")
    return found or (str(_OF_A_WHEEL) if _OF_A_WHEEL.exists() else None)


def cannot_browse() -> str | None:
    """Why tests in a browser cannot run here; None: they can."""
    if shutil.which("chromium") is None and "CHROMIUM" not in os.environ:
        return "no Chromium: `make setup-dev` installs it where there is apt-get"
    if node() is None:
        return "no Node.js"
    if not (WEB / "dist" / "index.html").exists() or not (WEB / "node_modules" / "playwright-core").exists():
        return "the console's pages are not built: `make setup`"
    return None
