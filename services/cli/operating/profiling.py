"""``tollgate profile``: a flame graph of a running process."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from infra import stack
from services.cli.terminal.exits import Unreachable
from services.cli.terminal.options import OUTPUT_FILE, Number, home_option, json_option, reply
from streams.runtime.settings import load_settings

PY_SPY = Path(sys.executable).parent / "py-spy"
#: samples a second of each recording: low enough that the process stays within its deadline
_RATE = 50
#: py-spy's start and end
_SLACK_S = 30.0
_TOP = 10


@click.command()
@click.argument("name")
@click.option("--seconds", type=Number(min=1, max=600), default=10.0, show_default=True, help="How long.")
@click.option("--out", type=OUTPUT_FILE, help="The SVG file.  [default: profile-NAME-TIME.svg here]")  # fmt: skip
@home_option
@json_option
def profile(home: Path, as_json: bool, name: str, seconds: float, out: Path | None) -> None:
    """Write a flame graph of a running Python process, by its NAME in `tollgate status`, and show where its time goes.

    The process is read from outside and not stopped.
    """
    pid = pid_of(stack.processes(load_settings(home)), name)
    path = out or Path(f"profile-{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}.svg")
    top = own_time(record(pid, seconds, path))
    lines = [f"{name} (pid {pid}), {seconds:g} s: {path}", *(f"  {each['share']:6.1%}  {each['function']}" for each in top)]  # fmt: skip
    reply(
        {"process": name, "pid": pid, "seconds": seconds, "file": str(path), "own_time": top}, as_json, lines
    )


def pid_of(processes: list[dict[str, Any]], name: str) -> int:
    """The pid of a process. Raises: Unreachable, UsageError."""
    known = {process["name"]: process for process in processes}
    if name not in known:
        raise click.UsageError(f"no process {name!r}; there are {', '.join(sorted(known))}")
    pid = known[name].get("pid")
    if not pid:
        raise Unreachable(f"{name} does not run: `tollgate status`")
    return int(pid)


def record(pid: int, seconds: float, path: Path) -> list[str]:
    """Sample a process into an SVG; returns the stacks, ``outer;inner count`` a line.

    Raises:
        Unreachable: it is no Python process, it ended, this user may not read it, or py-spy is not installed.
    """
    if not PY_SPY.exists():
        raise Unreachable(f"{PY_SPY} is not there: `make setup` installs it")
    raw = path.with_suffix(".stacks")
    asked = [str(PY_SPY), "record", "--nonblocking", "--pid", str(pid), "--duration", str(max(1, round(seconds))), "--rate", str(_RATE)]  # fmt: skip
    runs = [
        subprocess.Popen([*asked, "--format", form, "--output", str(to)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for form, to in (("flamegraph", path), ("raw", raw))
    ]  # fmt: skip
    try:
        for run in runs:
            _, said = run.communicate(timeout=seconds + _SLACK_S)
            if run.returncode != 0:
                raise Unreachable(
                    f"pid {pid} cannot be sampled: {said.strip().splitlines()[-1] if said.strip() else run.returncode}"
                )
        return raw.read_text().splitlines()
    except subprocess.TimeoutExpired:
        raise Unreachable(f"py-spy did not end within {seconds + _SLACK_S:g} s") from None
    finally:
        for run in runs:
            run.kill()
        raw.unlink(missing_ok=True)


def own_time(lines: list[str]) -> list[dict[str, Any]]:
    """The functions that most samples end in, with their share of all samples."""
    counts: Counter[str] = Counter()
    for line in lines:
        stack_text, _, count = line.rpartition(" ")
        if count.isdigit():
            counts[stack_text.rpartition(";")[2]] += int(count)
    whole = sum(counts.values())
    return [{"function": name, "share": round(count / whole, 4)} for name, count in counts.most_common(_TOP)]
