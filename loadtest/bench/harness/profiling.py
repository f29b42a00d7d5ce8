"""CPU profile of each process of a stack under load: by thread, by Python function, by Redis command.

    python -m loadtest.bench.harness.profiling [--home DIR] [--rate 8000] [--http-rate 1500] [--seconds 6]

First with stream traffic, then with single HTTP requests, where the edge's replica is sampled. A process's CPU is the operating system's
figure over the whole time, per transaction; its child processes have rows of their own (Ray's driver: HAProxy, raylet, GCS). py-spy
(part of Ray) samples Python functions that hold the interpreter, one process after the other: shares of own time, without
called functions. Sampling slows a process down, so ``make bench`` measures its figures at another time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import redis

from loadtest.bench.harness.running_stack import TOLLGATE, StackError, processes, running_stack
from loadtest.bench.harness.table import Row, left_out, shown
from loadtest.bench.http_load.measuring import OfferError, run_offer
from loadtest.bench.http_load.offer import Offer
from streams.runtime.settings import Settings

PY_SPY = str(Path(sys.executable).parent / "py-spy")
PORT_BASE = 26300
#: how lines of a profile begin
STREAM_TITLE, HTTP_TITLE = "profile of the stream", "profile of HTTP"
#: three quarters of what the edge is to bear
HTTP_RATE = 1_500
#: processes that take less are one line together, us a transaction
MIN_US = 1.0
SETTLE_S, SAMPLES_A_SECOND, TOP = 8.0, 250, 7
#: of a process, beside the time that is sampled: py-spy's start and end
SAMPLING_S = 3.0
#: looked into under HTTP load
HTTP_PROCESSES = ("scoring-http-", "processor-")
#: the edge works once its replica takes so much of a core; making the requests may take so long
BUSY_PERCENT, BUSY_WITHIN_S = 10.0, 120.0
_LINE = re.compile(r":\d+\)$")
_FOLDERS = re.compile(r"\((?:.*/)?([^/]+/[^/]+)\)$")


class Part(NamedTuple):
    """A process: one that ``tollgate status`` lists, or one that such a one started, by both names."""

    name: str
    pid: int

    @property
    def is_python(self) -> bool:
        try:
            return "python" in Path(psutil.Process(self.pid).exe()).name
        except psutil.Error:
            return False


def profile_rows(settings: Settings, rate: int, seconds: float) -> Iterator[Row]:
    """A row for each process while the stream is at work; each Python process is sampled for ``seconds``."""
    parts = parts_of(processes(settings))
    length_s = SETTLE_S + (seconds + SAMPLING_S) * sum(part.is_python for part in parts)
    command = [TOLLGATE, "simulate", "--home", settings.home, "--rate", str(rate), "--json", "--seconds", f"{length_s:g}"]  # fmt: skip
    traffic = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield from _looked_into(
            settings, parts, f"{STREAM_TITLE}, {rate:,}/s", rate, seconds, lambda _name: True
        )
    finally:
        traffic.terminate()
        traffic.wait(60)


def http_profile_rows(settings: Settings, rate: int, seconds: float) -> Iterator[Row]:
    """A row for each process while single requests come; the edge's replica and the processor are sampled.

    Raises:
        OfferError: the edge got nothing to do, or the generator failed.
    """
    parts = parts_of(processes(settings))
    sampled = [part for part in parts if part.name.startswith(HTTP_PROCESSES)]
    length_s = SETTLE_S + (seconds + SAMPLING_S) * (len(sampled) + 1)
    with ThreadPoolExecutor(1) as pool:
        offered = pool.submit(run_offer, Offer(settings.http, rate, length_s))
        wait_until_busy(sampled, offered.done)
        what = f"{HTTP_TITLE}, {rate:,} requests/s"
        yield from _looked_into(settings, parts, what, rate, seconds, lambda name: name.startswith(HTTP_PROCESSES))  # fmt: skip
        outcome = offered.result()
    decided = outcome.statuses.get("200", 0) / max(1, outcome.offered)
    yield Row(
        f"{what}: decided", [100 * decided], "%", note="figures a transaction count all that were offered"
    )


def parts_of(listed: Iterable[Mapping[str, Any]]) -> list[Part]:
    """The processes of ``tollgate status``, each followed by those that it started and that are not listed themselves."""
    rows = [row for row in listed if row["pid"]]
    others = {int(row["pid"]) for row in rows}
    found = []
    for row in rows:
        found.append(Part(str(row["name"]), int(row["pid"])))
        names: Counter[str] = Counter()
        for name, pid in _started_by(int(row["pid"]), others):
            names[name] += 1
            number = f" {names[name]}" if names[name] > 1 else ""
            found.append(Part(f"{row['name']}: {name}{number}", pid))
    return found


def _started_by(pid: int, others: set[int]) -> Iterator[tuple[str, int]]:
    """(name, pid) of a process' children and theirs; not through one that is listed itself."""
    try:
        children = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return
    for child in children:
        if child.pid in others:
            continue
        try:
            name = _called(child)
        except psutil.Error:
            continue
        yield name, child.pid
        yield from _started_by(child.pid, others)


def _called(process: psutil.Process) -> str:
    """The program; of Python its script or module, which says more."""
    name = process.name()
    if not name.startswith("python"):
        return name
    words = process.cmdline()
    scripts = [Path(word).name for word in words if word.endswith(".py")]
    modules = [after for word, after in pairwise(words) if word == "-m"]
    return next(iter([*scripts, *modules]), name)


def wait_until_busy(parts: Sequence[Part], ended: Callable[[], bool]) -> None:
    """Wait until a replica of the edge is at work.

    Raises:
        OfferError: none is within BUSY_WITHIN_S, or the requests ``ended`` before.
    """
    edges = [psutil.Process(part.pid) for part in parts if part.name.startswith(HTTP_PROCESSES[0])]
    until_s = time.monotonic() + BUSY_WITHIN_S
    while not any(edge.cpu_percent(0.5) > BUSY_PERCENT for edge in edges):
        if not edges or ended() or time.monotonic() > until_s:
            raise OfferError("no replica of the HTTP edge is at work: see `tollgate status`")


def _looked_into(
    settings: Settings, parts: Sequence[Part], what: str, rate: int, seconds: float, chosen: Callable[[str], bool],
) -> Iterator[Row]:  # fmt: skip
    """A row for each process that takes something; Python processes that are ``chosen`` by name are sampled, one by one."""
    at_first = cpu_of(parts)
    time.sleep(SETTLE_S)
    used, began = cpu_of(parts), time.monotonic()
    threads = {part: threads_of(part.pid) for part in parts}
    commands = redis_commands(settings)
    min_s = MIN_US * rate * SETTLE_S / 1e6
    functions = {
        part: sampled_functions(part.pid, seconds)
        for part in parts
        if chosen(part.name) and part.is_python and used[part] - at_first[part] >= min_s
    }
    took_s = {part: cpu_s - used[part] for part, cpu_s in cpu_of(parts).items()}
    transactions = rate * (time.monotonic() - began)
    for part in sorted(parts, key=lambda part: -took_s[part]):
        cpu_us = 1e6 * took_s[part] / transactions
        if cpu_us < MIN_US:
            continue
        told = [_shares(threads_of(part.pid), threads[part], transactions)]
        if part.name == "redis":
            told.append(_shares(redis_commands(settings), commands, transactions))
        elif functions.get(part):
            told.append("own time: " + functions[part])
        yield Row(f"{what}: {part.name}", [cpu_us], "us a transaction", note="; ".join(told))


def cpu_of(parts: Iterable[Part]) -> dict[Part, float]:
    """CPU seconds of each process alone; 0 of one that has ended."""
    found = {}
    for part in parts:
        try:
            found[part] = float(sum(psutil.Process(part.pid).cpu_times()[:2]))
        except psutil.NoSuchProcess:
            found[part] = 0.0
    return found


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


def sampled_functions(pid: int, seconds: float) -> str:
    """Where a Python process spends its own time, in words, sampled for ``seconds``; empty where py-spy gave nothing."""
    with tempfile.TemporaryDirectory(prefix="tollgate-profile-") as folder:
        raw = Path(folder) / "stacks"
        command = [PY_SPY, "record", "--pid", str(pid), "--duration", f"{max(1, round(seconds))}"]
        command += [
            "--rate",
            str(SAMPLES_A_SECOND),
            "--format",
            "raw",
            "--gil",
            "--nonblocking",
            "--output",
            str(raw),
        ]
        subprocess.run(command, capture_output=True, timeout=seconds + 60, check=False)
        return own_time(raw.read_text().splitlines()) if raw.exists() else ""


def threads_of(pid: int) -> dict[str, float]:
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


def redis_commands(settings: Settings) -> dict[str, float]:
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
    parser.add_argument("--http-rate", type=int, default=HTTP_RATE, help="requests a second")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each process")
    args = parser.parse_args()
    shown(_profile(args.home, args.rate, args.http_rate, args.seconds))


def _profile(home: str | None, rate: int, http_rate: int, seconds: float) -> Iterator[Row]:
    try:
        with running_stack(home, PORT_BASE) as settings:
            yield from profile_rows(settings, rate, seconds)
            yield from http_profile_rows(settings, http_rate, seconds)
    except (StackError, OfferError) as error:
        yield left_out("profile", str(error))


if __name__ == "__main__":
    main()
