"""Processes that the trainer starts for heavy work: each has a deadline, and ends when the trainer is asked to stop."""

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
    """The process ended without an answer, or not in time; the text says how and what it wrote last."""


def run_job(
    module: str, arguments: list[str], *, stop: threading.Event, timeout_s: float
) -> dict[str, Any] | None:
    """Run ``python -m module`` (with ``--parent`` and this process's id) and read the JSON on its last line; None when ``stop`` was set meanwhile.

    Raises:
        JobFailed: another exit code than 0, no JSON, or not done within ``timeout_s``.
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
                    raise JobFailed(f"{module} was not done within {timeout_s:g} s")
        finally:
            _end(job)
        output.seek(0)
        lines = output.read().decode("utf-8", "replace").strip().splitlines()
    if job.returncode != 0 or not lines:
        raise JobFailed(f"{module} ended with exit code {job.returncode}; its log says why")
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except json.JSONDecodeError as error:
        raise JobFailed(f"{module} answered {lines[-1][:200]!r}: {error}") from error
    return answer


def end_with_parent(parent: int) -> None:
    """Called first in a job: it ends when the process that started it does, however that ends (Linux).

    Otherwise a trainer that was killed and started again would train beside its own former job.

    Args:
        parent: process id of the starter; if it is gone already, the job ends now.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit("the trainer that started this job is gone")


def _end(job: subprocess.Popen[bytes]) -> None:
    if job.poll() is not None:
        return
    job.terminate()
    try:
        job.wait(STOP_S)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait(STOP_S)
