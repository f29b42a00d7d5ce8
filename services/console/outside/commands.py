"""Runs a command of the CLI with ``--json`` in a process of its own, for what takes long or much memory. Its exit code says what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.console.problems import Problem, too_many
from streams.access.identity import KEY_VARIABLE
from streams.runtime.secured import PRINCIPAL_VARIABLE

#: commands that run at once; each has a core for itself, behind everything else
AT_ONCE, WAIT_S = 2, 5.0
NICE = 10
_ERRORS = {1: (409, "refused"), 2: (422, "invalid"), 3: (503, "unreachable")}


class Commands:
    """The commands of one stack."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def run(
        self, *words: str, options: Sequence[str] = (), given: Sequence[str] = (), within_s: float = 60.0
    ) -> Any:
        """What ``tollgate WORDS OPTIONS -- GIVEN --json`` prints, also where its check failed and it says so in JSON.

        Args:
            options: each ``--name=value``, so that no value is taken for an option. ``given``: arguments, which may begin with a dash.

        Raises:
            Problem: 409 the check failed, 422 bad input, 503 a part cannot be reached or it took too long, 429 too many run.
        """
        if not self._places.acquire(timeout=WAIT_S):
            raise too_many("other commands of the console run now: try again in a moment", WAIT_S)
        try:
            return self._run([*words, *options, f"--home={self._home}", "--json", "--", *given], within_s)
        finally:
            self._places.release()

    def _run(self, arguments: Sequence[str], within_s: float) -> Any:
        # the console's own user must not sign for those who ask, and on a secured stack commands come to Kafka as the operator
        left_out = (KEY_VARIABLE, PRINCIPAL_VARIABLE)
        environment = {name: value for name, value in os.environ.items() if name not in left_out}
        command = ["nice", "-n", str(NICE), sys.executable, "-m", "services.cli.main", *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=within_s, env=environment, cwd=Path(self._home), check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Problem(
                503,
                "unreachable",
                f"`tollgate {arguments[0]}` took longer than {within_s:g} s",
                retry_after_s=30,
            ) from None
        if done.returncode:
            if done.returncode == 1 and done.stdout.startswith("{"):
                return json.loads(done.stdout)
            status, reason = _ERRORS.get(done.returncode, (503, "unreachable"))
            raise Problem(status, reason, _said(done.stderr))
        return json.loads(done.stdout)


def _said(stderr: str) -> str:
    """What a command says of its failure, without progress lines."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    begin = max(
        (at for at, line in enumerate(lines) if line.startswith(("tollgate:", "Error:"))), default=None
    )
    if begin is None:
        return lines[-1] if lines else "the command failed"
    first = lines[begin].partition(": ")[2]
    return "\n".join([first, *lines[begin + 1 :]])[:4_000]
