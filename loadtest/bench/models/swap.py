"""Effect of a model swap on latency and on the number of decisions, on a whole stack under load:

    python -m loadtest.bench.models.swap [--rates 1000,5000,10000] [--home DIR | --port-base N]

Per rate: traffic, in which a twin of the served bundle and that bundle take turns four times. The second
before and the second after the first decision by the other version count as the swap (loading takes 0.2 to 0.6 s), the five
seconds before the request as quiet. Whoever asks, and what measures, runs at low priority. Latency: from the broker's append
on `transactions` to its append on `decisions`. Then one more swap beside single requests to the HTTP edge, by their answers. A stack of its own is started and removed, unless ``--home`` names one that
serves a model.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import TopicPartition

from loadtest.bench.harness.running_stack import TOLLGATE, StackError, running_stack, tollgate
from loadtest.bench.harness.table import Row, left_out, shown
from loadtest.bench.http_load.measuring import OfferError, run_offer
from loadtest.bench.http_load.offer import Offer, Outcome
from loadtest.bench.models.republished import publish_again
from models.bundle.content import MODEL
from models.bundle.registry import read_state
from streams.audit import end_of
from streams.log.topics import DECISIONS
from streams.runtime.bundles import verified_bundle
from streams.runtime.kafka.log_reader import log_reader
from streams.runtime.settings import Settings

#: the last one is the stream's full load
RATES = (1_000, 5_000, 10_000)
#: of the swap beside HTTP requests: a quarter of what the edge is to bear; on a busy machine 20 s passed before a version that was
#: asked for at low priority, after the quiet time, was loaded
HTTP_RATE, HTTP_SECONDS = 500, 60.0
#: ms that p99 may rise at a swap: at least, then
BUMP_TARGETS = ("20", "0")
#: quiet time before each request, seconds; the traffic ends after the last swap, or by itself
BEFORE_S, SWAPS, TRAFFIC_S = 8.0, 4, 300
QUIET_MS, AROUND_MS = 5000, 1000
#: for a version that was asked for to be seen in a decision
SWAP_WITHIN_S = 60.0


class _Decided(msgspec.Struct):
    transaction_id: str
    model_version: str
    policy_version: str
    status: str
    received_at: datetime


@dataclass
class Seen:
    """Decisions as they are appended: times in ms since 1970, latencies in ms, versions."""

    appended_ms: list[int] = field(default_factory=list)
    latency_ms: list[int] = field(default_factory=list)
    version: list[str] = field(default_factory=list)
    policies: set[tuple[str, str]] = field(default_factory=set)

    def add(self, appended_ms: int, raw: bytes) -> None:
        decided = msgspec.json.decode(raw, type=_Decided)
        self.appended_ms.append(appended_ms)
        self.latency_ms.append(appended_ms - int(decided.received_at.timestamp() * 1000))
        self.version.append(decided.model_version)
        self.policies.add((decided.model_version, decided.policy_version))


class BenchError(StackError):
    """The stack failed at a step of the benchmark; the text names the step."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--rates", default=",".join(map(str, RATES)), help="transactions a second, one run each"
    )
    parser.add_argument("--home", help="a running stack that serves a model")
    parser.add_argument("--port-base", type=int, default=26900, help="of the stack started here")
    args = parser.parse_args()
    rates = [int(rate) for rate in args.rates.split(",")]
    with running_stack(args.home, args.port_base) as settings:
        shown(swap_rows(settings, rates))


def swap_rows(
    settings: Settings, rates: list[int], *, swaps: int = SWAPS, http_seconds: float = HTTP_SECONDS
) -> Iterator[Row]:
    """The table's lines for each rate, with so many swaps, then those of a swap beside HTTP requests; the stack must serve a model."""
    first = served_version(settings)
    second = publish_twin(settings, first)
    for rate in rates:
        try:
            yield from swaps_at(settings, rate, swaps, first, second)
        except StackError as error:
            yield left_out(f"{rate:,}/s, bump of p99 at a swap", str(error), *BUMP_TARGETS)
    try:
        yield from swap_beside_requests(settings, http_seconds, first, second)
    except (StackError, OfferError) as error:
        yield left_out(_http_name(HTTP_RATE) + "bump of p99 at a swap", str(error), *BUMP_TARGETS)


def served_version(settings: Settings) -> str:
    """The live version.

    Raises:
        BenchError: there is none.
    """
    live = [str(row["version"]) for row in _run(settings, "models", "list") if row["state"] == "live"]
    if not live:
        raise BenchError(
            f"the stack in {settings.home} serves no model: `tollgate train --home {settings.home}`"
        )
    return live[0]


def publish_twin(settings: Settings, version: str) -> str:
    """The same model under the next version, awaiting approval, so that only the swap differs."""
    return publish_again(settings, verified_bundle(settings, version), "bench of a swap")


def swaps_at(settings: Settings, rate: int, swaps: int, first: str, second: str) -> list[Row]:
    """The lines of so many swaps between two versions under ``rate`` transactions a second.

    Raises:
        BenchError: traffic or a swap failed; the text says which step.
    """
    turn = [first, second] if served_version(settings) == second else [second, first]
    with reading(settings) as seen:
        traffic = subprocess.Popen(
            [TOLLGATE, "simulate", "--home", settings.home, "--rate", str(rate), "--seconds", str(TRAFFIC_S), "--seed", "5", "--json"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            ended = partial(_has_ended, traffic)
            _wait_for(lambda: seen.version, "traffic", ended)
            asked = []
            for _ in range(swaps):
                time.sleep(BEFORE_S)
                asked.append((_ask(settings, turn[0]), turn[0]))
                _wait_for(lambda: seen.version[-1] == turn[0], f"decisions by {turn[0]}", ended)
                turn.reverse()
            time.sleep(2 * AROUND_MS / 1000)
            # asked to stop, it waits for what it has sent and prints its summary
            traffic.send_signal(signal.SIGTERM)
            out, _ = traffic.communicate(timeout=180)
            summary = json.loads(out)
        except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            raise BenchError(f"the traffic at {rate:,}/s gave no summary: {error}") from error
        finally:
            if traffic.poll() is None:
                traffic.terminate()
                traffic.wait(30)
    return _lines(rate, seen, asked, summary)


def swap_beside_requests(settings: Settings, seconds: float, first: str, second: str) -> list[Row]:
    """One swap while single requests come."""
    version = first if served_version(settings) == second else second
    policies = {one: verified_bundle(settings, one).policy.version for one in (first, second)}
    with reading(settings) as seen, ThreadPoolExecutor(1) as pool:
        offered = pool.submit(run_offer, Offer(settings.http, HTTP_RATE, seconds, each=True))
        # what the edge decides is on `decisions` too
        _wait_for(lambda: seen.version, "decided request", offered.done)
        time.sleep(BEFORE_S)
        asked_ms = _ask(settings, version)
        outcome = offered.result()
    return http_lines(HTTP_RATE, outcome, asked_ms, version, policies)


def http_lines(
    rate: int, outcome: Outcome, asked_ms: int, version: str, policies: Mapping[str, str]
) -> list[Row]:
    """What a swap to ``version`` did to requests; ``policies``: the policy that comes with each version.

    Raises:
        BenchError: no answer was decided by that version.
    """
    due_ms, took_ms, status, model, policy = (np.array(column) for column in zip(*outcome.each, strict=True))
    decided = status == 200
    swapped = decided & (model == version)
    if not swapped.any():
        raise BenchError(f"no answer by {version} before the requests ended: is the machine too busy?")
    swapped_ms = (due_ms + took_ms)[swapped].min()
    quiet = took_ms[decided & (due_ms >= asked_ms - QUIET_MS) & (due_ms < asked_ms)]
    around = took_ms[decided & (np.abs(due_ms - swapped_ms) <= AROUND_MS)]
    if not len(quiet) or not len(around):
        raise BenchError("no answers before the swap or around it")
    before, during = (float(np.percentile(part, 99)) for part in (quiet, around))
    made_by = Counter(zip(model[decided].tolist(), policy[decided].tolist(), strict=True))
    mixed = sum(count for pair, count in made_by.items() if pair not in policies.items())
    others = outcome.offered - int(decided.sum())
    said = ", ".join(f"{count:,} x {one}" for one, count in sorted(outcome.statuses.items()))
    if others:
        near = int((np.abs(due_ms - swapped_ms) <= AROUND_MS)[~decided].sum())
        why = ", ".join(f"{word} {count:,}" for word, count in sorted(outcome.looked_into.items()))
        said += f"; {near:,} of the others within {AROUND_MS / 1000:g} s of the swap; sampled: {why}"
    by = ", ".join(
        f"{count:,} by {one} with policy {with_}" for (one, with_), count in sorted(made_by.items())
    )
    name = _http_name(rate)
    return [
        Row(name + "bump of p99 at a swap", [during - before], "ms", *BUMP_TARGETS,
            note=f"{before:.0f} to {during:.0f}, most {around.max():.0f}"),
        Row(name + "answers other than 200 or none", [others], "", "0", "0", note=said),
        Row(name + "decisions not by one version alone", [mixed], "", "0", "0", note=by),
    ]  # fmt: skip


def _http_name(rate: int) -> str:
    return f"HTTP single, {rate:,}/s, "


def _lines(rate: int, seen: Seen, swaps: list[tuple[int, str]], summary: dict[str, Any]) -> list[Row]:
    appended, latency = np.array(seen.appended_ms), np.array(seen.latency_ms)
    versions = np.array(seen.version)
    bumps, notes = [], []
    for asked_ms, version in swaps:
        swapped_ms = int(appended[(versions == version) & (appended >= asked_ms)].min())
        quiet = latency[(appended >= asked_ms - QUIET_MS) & (appended < asked_ms)]
        swap = latency[(appended >= swapped_ms - AROUND_MS) & (appended <= swapped_ms + AROUND_MS)]
        before, during = (float(np.percentile(part, 99)) for part in (quiet, swap))
        bumps.append(during - before)
        notes.append(f"{before:.0f} to {during:.0f}, most {swap.max()}")
    rows = [Row(f"{rate:,}/s, bump of p99 at a swap", bumps, "ms", *BUMP_TARGETS, note="; ".join(notes))]
    lost = summary["missing"] + summary["duplicated"] + summary["decided"]["not_scored"]
    policies = ", ".join(" with policy ".join(pair) for pair in sorted(seen.policies))
    rows.append(
        Row(
            f"{rate:,}/s, missing, doubled or not scored", [lost], "", "0", "0", note=f"decided by {policies}"
        )
    )
    return rows


def _ask(settings: Settings, version: str) -> int:
    """Ask for a version; the moment of asking, ms since 1970."""
    now_ms = time.time_ns() // 1_000_000
    state = read_state(settings.bundles_dir, MODEL, version)
    verb = "approve" if state is not None and state.state == "awaiting approval" else "promote"
    _run(settings, "models", verb, version, "--by", "bench", "--why", "bench of a swap")
    return now_ms


def _run(settings: Settings, *args: str) -> Any:
    # who asks for a swap sits elsewhere: the second of CPU that the command takes is not the swap's
    return json.loads(tollgate(settings.home, *args, "--json", nice=19))


def _has_ended(process: subprocess.Popen[str]) -> bool:
    return process.poll() is not None


def _wait_for(condition: Callable[[], Any], what: str, ended: Callable[[], bool]) -> None:
    end = time.monotonic() + SWAP_WITHIN_S
    while not condition():
        if time.monotonic() > end or ended():
            raise BenchError(
                f"no {what}: the traffic ended before, or {SWAP_WITHIN_S:g} s passed; is the machine too busy?"
            )
        time.sleep(0.01)


@contextmanager
def reading(settings: Settings) -> Iterator[Seen]:
    """Decisions from now on, read beside the run."""
    seen, stop = Seen(), threading.Event()
    ends = end_of(settings.kafka, [DECISIONS.name])
    places = [TopicPartition(DECISIONS.name, p, offset) for p, offset in ends[DECISIONS.name].items()]

    def read() -> None:
        # of this thread alone: what measures must not slow down what is measured
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        consumer = log_reader(settings.kafka)
        try:
            consumer.assign(places)
            while not stop.is_set():
                for record in consumer.consume(2_000, timeout=0.2):
                    if record.error() is None:
                        seen.add(record.timestamp()[1], record.value() or b"")
        finally:
            consumer.close()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)


if __name__ == "__main__":
    main()
