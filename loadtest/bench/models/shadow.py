"""CPU and time of deciding a payment with one model, with a challenger in the shadow, and with a canary:

    python -m loadtest.bench.models.shadow [--rows N] [--report]

In one process, without Kafka: batches of features go through the decider of a scoring replica and are encoded; the shadow's own
records are encoded too. All threads count. The modes take turns, so that a change of the machine's speed meets them all; batches
are not repeated (a processor would predict every branch of the trees). The model is trained here, on simulated traffic.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from features.replay import replay
from features.transaction import Transaction
from loadtest.bench.harness.table import NO, Row, shown, write_report
from loadtest.traffic.simulator import create_world, history_table
from models.bundle.content import Bundle, load_bundle, publish
from models.bundle.signing import ensure_keys
from models.decision import Decision
from models.scoring.backends import FloatArray
from models.scoring.scorer import Scorer
from models.training.dataset import from_history
from models.training.learners.parameters import Parameters
from models.training.training import bundle_content, train
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.arms.shadow import Shadow
from services.scoring.decision.decider import Case, Decider
from services.scoring.model.serving import Challenger, Serving
from streams.contracts.deadline import DEFAULT_DEADLINE_MS
from streams.contracts.shadow import ShadowBatch, encode_shadow
from streams.contracts.text.json_encoding import encode

END = datetime(2026, 11, 1, tzinfo=UTC)
#: rows of a batch, about those of the stream at 1,000, 5,000 and 10,000 a second, and the CPU of a transaction there, us, all processes
#: summed: measured at 1,000/s (2026-11-30), else the budget at 10,000/s, so that the share at 5,000/s is an upper bound
SIZES = {10: 784.0, 50: 110.0, 100: 110.0}
ROUNDS, ROUND_ROWS = 15, 3_000
#: what the shadow may add, in percent of the CPU of a transaction, and to the 99th percentile of a batch's time, ms
MAX_SHARE, MAX_P99_MS = 15.0, 10.0
Decide = Callable[[Sequence[Case], FloatArray], list[Decision]]


class Took(NamedTuple):
    """Cost of one round: CPU a row, us, and the time of each batch until its decisions are encoded, ms."""

    us: float
    times_ms: list[float]


class Encoded:
    """Takes the shadow's records as the producer does, and sends them nowhere."""

    def publish(self, batch: ShadowBatch) -> None:
        encode_shadow(batch)

    def serve(self) -> None:
        pass


class Traffic:
    """Simulated payments with their features, cut into batches that are not repeated within a round."""

    def __init__(self, rows: int, parameters: Parameters | None = None) -> None:
        history = history_table(create_world(5, cards=3_000), END - timedelta(days=60), END, count=rows)
        self.matrix = replay(history)
        data = from_history(history, lambda _: self.matrix, silence="honest")
        trained = train(data, parameters or Parameters(), policy_version="1")
        self._content = bundle_content(trained, created_at=END.isoformat(), code_version="bench", extra={})
        fields = [name for name in Transaction.__struct_fields__ if name in history.column_names]
        received_ms = int(END.timestamp() * 1000)
        self.cases = [
            Case(msgspec.convert(row, Transaction), received_ms, received_ms, DEFAULT_DEADLINE_MS)
            for row in history.select(fields).to_pylist()
        ]
        self._next = 0

    def bundle(self, home: Path, version: str) -> Bundle:
        trusted = ensure_keys(home / "keys")
        path = publish(self._content, home / "bundles", home / "keys", model="fraud", version=version, created_at=END)  # fmt: skip
        return load_bundle(path, trusted)

    def batches(self, size: int, rows: int) -> list[tuple[list[Case], FloatArray]]:
        out = []
        for _ in range(max(1, rows // size)):
            if self._next + size > len(self.cases):
                self._next = 0
            cut = slice(self._next, self._next + size)
            out.append((self.cases[cut], np.ascontiguousarray(self.matrix[cut])))
            self._next += size
        return out


def shadow_rows(traffic: Traffic, sizes: Mapping[int, float] = SIZES, rounds: int = ROUNDS, rows: int = ROUND_ROWS) -> Iterator[Row]:  # fmt: skip
    """The table's rows, for each size of batch."""
    with tempfile.TemporaryDirectory(prefix="tollgate-shadow-") as folder:
        old = Scorer(traffic.bundle(Path(folder), "1.0.0"))
        new = Scorer(traffic.bundle(Path(folder), "1.1.0"), like=old)
        for scorer in (old, new):
            scorer.warm()
        challengers = {
            "no rollout": None,
            "shadow": Challenger(new, 0.0, "salt", shadow=True, run="bench"),
            "canary of 5 %": Challenger(new, 0.05, "salt"),
            "canary of 50 %": Challenger(new, 0.5, "salt"),
        }
        for size, whole_us in sizes.items():
            yield from _rows(traffic, size, whole_us, old, challengers, rounds, rows)


def _rows(
    traffic: Traffic,
    size: int,
    whole_us: float,
    old: Scorer,
    challengers: dict[str, Challenger | None],
    rounds: int,
    rows: int,
) -> list[Row]:
    alone = Decider(clock=_just_received)
    runs: dict[str, list[Took]] = {name: [] for name in ("one model", *challengers)}
    for number in range(rounds + 1):
        took = {"one model": _took(lambda cases, matrix: alone.decide(cases, matrix, old), None, traffic.batches(size, rows))}  # fmt: skip
        for name, challenger in challengers.items():
            shadow = Shadow(Encoded())
            both, serving = ArmsDecider(Decider(clock=_just_received), shadow), Serving(old, challenger)
            took[name] = _took(
                lambda cases, matrix, both=both, serving=serving: both.decide(cases, matrix, serving),  # type: ignore[misc]
                shadow,
                traffic.batches(size, rows),
            )
        # the first round warms up
        if number:
            for name, cost in took.items():
                runs[name].append(cost)
    out = [
        Row(f"decide and encode, batches of {size}: {name}", [cost.us for cost in costs], "us a row", note=f"a batch: {_times(costs)}")
        for name, costs in runs.items()
    ]  # fmt: skip
    for name in challengers:
        pairs = list(zip(runs[name], runs["one model"], strict=True))
        share = [100 * (with_it.us - without.us) / whole_us for with_it, without in pairs]
        out.append(
            Row(
                f"batches of {size}: {name}, more CPU a transaction",
                share,
                "%",
                at_least=f"{MAX_SHARE:g}" if name == "shadow" else "",
                note=f"of {whole_us:g} us, all processes",
            )
        )
        if name == "shadow":
            more = _quantile_ms(runs[name], 0.99) - _quantile_ms(runs["one model"], 0.99)
            out.append(Row(f"batches of {size}: shadow, more of a batch's time, p99", [more], "ms", at_least=f"{MAX_P99_MS:g}"))  # fmt: skip
    return out


def _took(decide: Decide, shadow: Shadow | None, batches: Sequence[tuple[list[Case], FloatArray]]) -> Took:
    """CPU of all threads, until the shadow has sent its last record."""
    began, times_ms = time.process_time(), []
    for cases, matrix in batches:
        at = time.perf_counter()
        for decision in decide(cases, matrix):
            encode(decision)
        times_ms.append((time.perf_counter() - at) * 1000)
    if shadow is not None:
        shadow.close(within_s=60)
    us = (time.process_time() - began) / sum(len(cases) for cases, _ in batches) * 1e6
    return Took(us, times_ms)


def _quantile_ms(costs: Sequence[Took], q: float) -> float:
    """Of the times of all rounds' batches."""
    return float(np.quantile([at for cost in costs for at in cost.times_ms], q))


def _times(costs: Sequence[Took]) -> str:
    return f"p50 {_quantile_ms(costs, 0.5):.2f}, p99 {_quantile_ms(costs, 0.99):.1f} ms"


def _just_received() -> float:
    """A clock that stands a few milliseconds after the receipt of all payments, so that each batch has its usual time left."""
    return END.timestamp() + 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="simulated transactions to learn from")
    parser.add_argument("--report", action="store_true", help="also write the table to loadtest/reports/")
    args = parser.parse_args()
    found = shown(shadow_rows(Traffic(args.rows)))
    if args.report:
        title = "What a challenger costs in a scoring replica"
        print(f"written to {write_report(found, 'make bench-shadow', 'shadow', title)}")
    # times of a busy machine are another matter
    if any(row.reached == NO and row.unit == "%" for row in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
