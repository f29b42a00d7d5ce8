"""The console's pages in a real browser, against the development server that stands in for the API.

``CONSOLE=all`` (``make test-console``) looks at every screen in every look; otherwise in two.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "services" / "console" / "web"
TESTS = sorted((WEB / "tests").glob("*.test.mjs"))
LIMIT_S = 900 if os.environ.get("CONSOLE") == "all" else 280
BUNDLED_NODE = Path(__file__).parents[2] / ".cache" / "node" / "bin" / "node"


def _node() -> str | None:
    found = shutil.which("node")
    return found or (str(BUNDLED_NODE) if BUNDLED_NODE.exists() else None)


def _missing() -> str | None:
    if shutil.which("chromium") is None and "CHROMIUM" not in os.environ:
        return "no Chromium: apt-get install chromium"
    if _node() is None:
        return "no Node.js"
    if not (WEB / "dist" / "index.html").exists() or not (WEB / "node_modules" / "playwright-core").exists():
        return "the console's pages are not built: `make setup`"
    return None


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.split(".")[0])
def test_in_a_browser(path: Path) -> None:
    missing = _missing()
    if missing:
        pytest.skip(missing)
    node = _node()
    assert node is not None
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", str(path)], cwd=WEB, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )  # fmt: skip
    print(done.stdout[-3_000:])
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-4_000:]


def test_there_are_browser_tests() -> None:
    assert {path.name for path in TESTS} >= {"pages.test.mjs", "queue.test.mjs"}
