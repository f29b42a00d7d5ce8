"""The console's pages in a real browser, against the development server that stands in for the API.

``CONSOLE=all`` (``make test-console``) looks at every screen in every look; otherwise in two.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.node import WEB, cannot_browse, node

TESTS = sorted((WEB / "tests").glob("*.test.mjs"))
LIMIT_S = 900 if os.environ.get("CONSOLE") == "all" else 280


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.split(".")[0])
def test_in_a_browser(path: Path) -> None:
    missing = cannot_browse()
    if missing:
        pytest.skip(missing)
    done = subprocess.run(
        [str(node()), "--test", "--test-reporter=spec", str(path)], cwd=WEB, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )  # fmt: skip
    print(done.stdout[-3_000:])
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-4_000:]


def test_there_are_browser_tests() -> None:
    assert {path.name for path in TESTS} >= {"pages.test.mjs", "queue.test.mjs"}
