"""Child processes for the trainer's heavy work: each has a time limit, and ends when the trainer is asked to stop."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

STOP_S = 10.0


class JobFailed(Exception):
    """The process exited without an answer or exceeded its time limit; the text says which."""


def run_job(
    module: str, arguments: list[str], *, stop: threading.Event, timeout_s: float
) -> dict[str, Any] | None:
    """Run ``python -m module`` with ``--parent`` and this process's id. Returns the JSON of its last line, None if ``stop`` was set.

    Raises:
        JobFailed: its exit code is not 0, its last line is not JSON, or it takes longer than ``timeout_s``.
    """
    with (
        tempfile.TemporaryFile("w+b") as output,
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--parent", str(os.getpid())],
            stdout=output,
            cwd=Path(__file__).parents[2],
        ) as job,
    ):
        deadline = time.monotonic() + timeout_s
        try:
            while job.poll() is None:
                if stop.wait(0.2):
                    return None
                if time.monotonic() > deadline:
                    raise JobFailed(f"{module} did not finish within {timeout_s:g} s")
        finally:
            _end(job)
        output.seek(0)
        lines = output.read().decode("utf-8", "replace").strip().splitlines()
    if job.returncode != 0 or not lines:
        raise JobFailed(f"{module} exited with code {job.returncode}; the log shows the reason")
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except json.JSONDecodeError as error:
        raise JobFailed(f"{module} answered {lines[-1][:200]!r}: {error}") from error
    return answer


def end_with_parent(parent: int) -> None:
    """End this job when its parent process ends, even by SIGKILL (Linux). To be called first in a job.

    Otherwise a trainer that was killed and restarted would train in parallel with its earlier job.

    Args:
        parent: the parent's process id; if that process has already ended, the job ends now.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit("the trainer that started this job has ended")


def _end(job: subprocess.Popen[bytes]) -> None:
    if job.poll() is not None:
        return
    job.terminate()
    try:
        job.wait(STOP_S)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait(STOP_S)
