"""Cost of a decision compared with a bare pipe and with Kafka Streams, in turn within one run:

    python -m loadtest.bench.ratio [--rate 10000] [--runs 5] [--seconds 60] [--only bare,streams]

The bare pipe reads transactions and writes decisions of the same size as ours, and does nothing else (``loadtest/peers/bare_pipe.py``).
Kafka Streams keeps card windows in RocksDB and scores with ONNX Runtime the model that our stack serves
(``loadtest/peers/kafka_streams``), without reasons, archive, labels and drift.

Each has its own broker with our configuration, and gets the same transactions and labels from the same sender. One measurement counts
and times all decisions. CPU includes the broker and every process of the system, but not sender and measurement. All systems run from
the first to the last run, and one gets traffic at a time, so the cost of idle systems is the same for each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from features.catalogue import INDEX, WIDTH
from loadtest.bench.harness.running_stack import StackError, running_stack
from loadtest.bench.harness.table import Row, left_out, shown
from loadtest.bench.stream import (
    LABELS_AFTER_S,
    LATE_S,
    WARM_S,
    RunFailed,
    Runs,
    cpu_row,
    latency_row,
    simulate,
)
from loadtest.peers.installing import PeerError, java_command
from loadtest.peers.running import running_peer
from streams.audit import LedgerUnreachable, end_of, read_span
from streams.log.topics import DECISIONS
from streams.runtime.settings import Settings

PORT_BASE, RATE = 25700, 10_000
#: decisions whose bytes the bare pipe writes
SAMPLE = 2_000
#: of a vector, what the JVM peer knows
KNOWN = (
    "amount",
    *(f"card_{what}_{window}" for what in ("count", "sum") for window in ("1h", "24h", "7d", "30d")),
)
Offer = Callable[[float], dict[str, object]]


@dataclass(frozen=True)
class Peer:
    """Who is compared. ``command`` prepares it and says how to start it; targets are those of our CPU divided by its."""

    name: str
    what: str
    command: Callable[[Settings, Path], list[str]]
    at_least: str = ""
    then: str = ""


def decisions_of(bootstrap: str) -> list[bytes]:
    """The newest decisions on a broker, about SAMPLE of them.

    Raises:
        PeerError: there are none, or the broker does not answer.
    """
    found: list[bytes] = []
    try:
        end = end_of(bootstrap, [DECISIONS.name])
        each = SAMPLE // max(1, len(end[DECISIONS.name]))
        start = {topic: {p: max(0, last - each) for p, last in ends.items()} for topic, ends in end.items()}
        read_span(bootstrap, start, end, lambda records: found.extend(r.value() for r in records))
    except LedgerUnreachable as error:
        raise PeerError(str(error)) from error
    if not found:
        raise PeerError("there are no decisions yet whose size could be taken")
    return found


def bare_pipe(settings: Settings, folder: Path) -> list[str]:
    """The bare pipe, writing decisions as the stack made them last."""
    sample = folder / "decisions"
    sample.write_bytes(b"\n".join(decisions_of(settings.kafka)))
    return [sys.executable, "-m", "loadtest.peers.bare_pipe", "{bootstrap}", str(sample)]


def kafka_streams(settings: Settings, _folder: Path, guarantee: str) -> list[str]:
    """Kafka Streams with the model that the stack serves."""
    told = json.loads(httpx.get(f"{settings.http}/v1/model", timeout=5.0).content)
    model = settings.bundles_dir.joinpath(told["model"], told["version"], "model.onnx")
    places = ",".join(str(INDEX[name]) for name in KNOWN)
    return [
        *java_command("Scoring"), "{bootstrap}", "transactions", "decisions", "{folder}", str(model), str(WIDTH), places,
        guarantee,
    ]  # fmt: skip


_STREAMS = "card windows in RocksDB, model through ONNX Runtime, JSON in and out; one entity, no reasons, archive, labels or drift"
PEERS = {
    "bare": Peer("bare pipe", "reads transactions, writes decisions of the same size, nothing else", bare_pipe, "4.5", "3"),
    "streams": Peer(
        "Kafka Streams + ONNX", f"{_STREAMS}; at least once: after a crash some count and are decided twice",
        lambda settings, folder: kafka_streams(settings, folder, "at_least_once"), "stated", "1.5",
    ),
    "streams-exact": Peer(
        "Kafka Streams + ONNX, exactly once", f"{_STREAMS}; its transactions are committed every 100 ms",
        lambda settings, folder: kafka_streams(settings, folder, "exactly_once_v2"), "stated", "1.5",
    ),
}  # fmt: skip


def ratio_rows(
    settings: Settings, rate: int, runs: int, seconds: float, *, chosen: Sequence[str] = tuple(PEERS), warm_s: float = WARM_S
) -> Iterator[Row]:  # fmt: skip
    """Our lines, then each peer's with the ratio; ours and all peers take turns, run by run.

    Raises:
        RunFailed: our own stack gave no summary.
    """
    simulate(settings.home, rate, warm_s, 1)
    found = {"": Runs(rate), **{name: Runs(rate) for name in chosen}}
    with ExitStack() as up:
        offers: dict[str, Offer] = {"": lambda s: simulate(settings.home, rate, s, 1)}
        folder = Path(up.enter_context(tempfile.TemporaryDirectory(prefix="tollgate-ratio-")))
        for name in chosen:
            try:
                offers[name] = _start(up, PEERS[name], settings, folder, rate, warm_s)
            except PeerError as error:
                found[name].why = str(error)
        for _ in range(runs):
            _take_turns(offers, found, seconds)
    yield from compared(found, rate, seconds)


def _start(up: ExitStack, peer: Peer, settings: Settings, folder: Path, rate: int, warm_s: float) -> Offer:
    running = up.enter_context(running_peer(peer.name, peer.command(settings, folder)))

    def offer(seconds: float) -> dict[str, object]:
        return running.offer(rate, seconds, labels_after_s=LABELS_AFTER_S, wait_s=LATE_S)

    offer(warm_s)
    return offer


def _take_turns(offers: dict[str, Offer], found: Mapping[str, Runs], seconds: float) -> None:
    for name, offer in list(offers.items()):
        try:
            found[name].summaries.append(offer(seconds))
        except PeerError as error:
            # the others go on without it
            found[name].why = str(error)
            del offers[name]


def compared(found: Mapping[str, Runs], rate: int, seconds: float) -> Iterator[Row]:
    """The rows of all systems; a ratio compares runs that followed each other."""
    ours = found[""]
    for name, runs in found.items():
        peer = PEERS.get(name)
        title = f"{peer.name if peer else 'ours, in turn with them'}, {rate:,}/s for {seconds:g} s"
        yield latency_row(runs, "p50", title)
        yield latency_row(runs, "p99", title)
        cpu = cpu_row(runs, title)
        if peer is None:
            yield cpu
            continue
        if runs.summaries and any(runs.unaccounted()):
            cpu = replace(cpu, note=f"{cpu.note}; missing or doubled {sum(runs.unaccounted()):,}")
        yield replace(cpu, note=f"{peer.what}; {cpu.note}")
        yield _ratio_row(ours, runs, peer, rate)


def _ratio_row(ours: Runs, theirs: Runs, peer: Peer, rate: int) -> Row:
    what = f"ratio at {rate:,}/s: our CPU / {peer.name}"
    if not theirs.summaries or not ours.summaries:
        return left_out(what, theirs.why or ours.why, peer.at_least, peer.then)
    ratios = [a / b for a, b in zip(ours.cpu_us(), theirs.cpu_us(), strict=False)]
    row = Row(what, ratios, "x", peer.at_least, peer.then)
    shares = ", ".join(f"{name} {us:.0f}" for name, us in ours.cpu_by_process().items() if us >= 1)
    return replace(row, factor=f"{row.middle:.1f} x", where=f"ours: {shares}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", help="a running stack that serves a model; default: one of its own")
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm", type=float, default=WARM_S, help="seconds before the first run counts")
    parser.add_argument("--only", default=",".join(PEERS), help=f"some of {','.join(PEERS)}")
    args = parser.parse_args()
    try:
        with running_stack(args.home, PORT_BASE) as settings:
            chosen = args.only.split(",")
            shown(ratio_rows(settings, args.rate, args.runs, args.seconds, chosen=chosen, warm_s=args.warm))
    except (StackError, RunFailed) as error:
        shown([left_out("ratios", str(error))])


if __name__ == "__main__":
    main()
