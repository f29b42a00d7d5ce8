"""Where each process of a stack at work spends its CPU: by thread, by Python function, by command of Redis.

    python -m loadtest.profiling [--home DIR] [--rate 8000] [--seconds 6]

A process's CPU is that of the operating system over the whole time, by transaction. Python functions are sampled by py-spy
(comes with Ray) while they hold the interpreter, one process after the other: shares of own time, without what a function
calls. Sampling slows what it looks at, so the figures of ``make bench`` are not taken beside it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import redis

from loadtest.running_stack import TOLLGATE, StackError, processes, running_stack
from loadtest.table import Row, conditions, left_out, markdown
from streams.settings import Settings

PY_SPY = str(Path(sys.executable).parent / "py-spy")
PORT_BASE = 26300
#: with these it finds no Python
OTHERS = ("kafka", "redis", "prometheus", "alertmanager")
#: processes that take less are one line together, us a transaction
LEAST_US = 1.0
SETTLE_S, SAMPLES_A_SECOND, TOP = 8.0, 250, 7
_LINE = re.compile(r":\d+\)$")
_FOLDERS = re.compile(r"\((?:.*/)?([^/]+/[^/]+)\)$")


def profile_rows(settings: Settings, rate: int, seconds: float) -> Iterator[Row]:
    """A row for each process; each Python process is sampled for ``seconds``."""
    before = {row["name"]: row for row in processes(settings)}
    names = [name for name in before if name not in OTHERS]
    command = [TOLLGATE, "simulate", "--home", settings.home, "--rate", str(rate), "--json"]
    command += ["--seconds", f"{SETTLE_S + (seconds + 3) * len(names):g}"]
    traffic = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(SETTLE_S)
        began, used = time.monotonic(), {row["name"]: row["cpu_s"] for row in processes(settings)}
        threads = {name: _threads(int(row["pid"])) for name, row in before.items()}
        commands = _commands(settings)
        functions = {name: _sampled(int(before[name]["pid"]), seconds) for name in names}
        transactions = rate * (time.monotonic() - began)
        for row in sorted(processes(settings), key=lambda row: used.get(row["name"], 0.0) - row["cpu_s"]):
            name = row["name"]
            cpu_us = 1e6 * (row["cpu_s"] - used.get(name, 0.0)) / transactions
            if cpu_us < LEAST_US:
                continue
            parts = [_shares(_threads(int(row["pid"])), threads.get(name, {}), transactions)]
            if name == "redis":
                parts.append(_shares(_commands(settings), commands, transactions))
            elif functions.get(name):
                parts.append("own time: " + functions[name])
            yield Row(f"profile at {rate:,}/s: {name}", [cpu_us], "us a transaction", note="; ".join(parts))
    finally:
        traffic.terminate()
        traffic.wait(60)


def own_time(lines: Iterable[str], top: int = TOP) -> str:
    """The functions that most samples end in, in words; ``lines``: stacks as py-spy writes them raw, each with its count."""
    counts: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack and count.strip().isdigit():
            function = _LINE.sub(")", stack.split(";")[-1])
            counts[_FOLDERS.sub(r"(\1)", function)] += int(count)
    total = counts.total()
    return ", ".join(f"{name} {count / total:.0%}" for name, count in counts.most_common(top))


def _sampled(pid: int, seconds: float) -> str:
    with tempfile.TemporaryDirectory(prefix="tollgate-profile-") as folder:
        raw = Path(folder) / "stacks"
        command = [
            PY_SPY,
            "record",
            "--pid",
            str(pid),
            "--duration",
            f"{max(1, round(seconds))}",
            "--rate",
            str(SAMPLES_A_SECOND),
        ]
        command += ["--format", "raw", "--gil", "--nonblocking", "--output", str(raw)]
        subprocess.run(command, capture_output=True, timeout=seconds + 60, check=False)
        return own_time(raw.read_text().splitlines()) if raw.exists() else ""


def _threads(pid: int) -> dict[str, float]:
    """CPU seconds by name of thread; those of a pool together."""
    found: defaultdict[str, float] = defaultdict(float)
    try:
        for thread in psutil.Process(pid).threads():
            name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text().strip()
            found[re.sub(r"[\d#:.-]+\w?$", "", name) or name] += thread.user_time + thread.system_time
    except (psutil.NoSuchProcess, FileNotFoundError):
        # it ended: what is left of it is told
        pass
    return dict(found)


def _commands(settings: Settings) -> dict[str, float]:
    """Seconds in each command of Redis; parsing, sending and the append-only file are not among them."""
    with redis.Redis.from_url(settings.redis) as client:
        stats: dict[str, Any] = client.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): told["usec"] / 1e6
        for name, told in stats.items()
        if name != "cmdstat_exec"
    }


def _shares(after: Mapping[str, float], before: Mapping[str, float], transactions: float) -> str:
    used = {name: 1e6 * (value - before.get(name, 0.0)) / transactions for name, value in after.items()}
    chosen = sorted(used.items(), key=lambda item: -item[1])[:TOP]
    return ", ".join(f"{name} {us:.1f}" for name, us in chosen if us >= 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", help="a running stack that serves a model; default: one of its own")
    parser.add_argument("--rate", type=int, default=8_000)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each process")
    args = parser.parse_args()
    try:
        with running_stack(args.home, PORT_BASE) as settings:
            rows = list(profile_rows(settings, args.rate, args.seconds))
    except StackError as error:
        rows = [left_out("profile", str(error))]
    print(f"{markdown(rows)}\n\n{conditions()}")


if __name__ == "__main__":
    main()
