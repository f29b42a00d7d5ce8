"""CPU time of deciding a payment with one model, with a challenger in the shadow, and with a canary:

    python -m loadtest.bench.models.shadow [--rows N]

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

import msgspec
import numpy as np

from features.replay import replay
from features.transaction import Transaction
from loadtest.bench.harness.table import Row, shown
from loadtest.traffic.simulator import create_world, history_table
from models.bundle.content import Bundle, load_bundle, publish
from models.bundle.signing import ensure_keys
from models.decision import Decision
from models.scoring.backends import FloatArray
from models.scoring.scorer import Scorer
from models.training.dataset import from_history
from models.training.training import Parameters, bundle_content, train
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.arms.shadow import Shadow
from services.scoring.decision.decider import Case, Decider
from services.scoring.model.serving import Challenger, Serving
from streams.contracts.shadow import ShadowBatch, encode_shadow
from streams.contracts.text.json_encoding import encode

END = datetime(2026, 11, 1, tzinfo=UTC)
#: rows of a batch, about those of the stream at 1,000, 5,000 and 10,000 a second, and the CPU of a transaction there, us, all processes
#: summed: measured at 1,000/s (2026-11-30), else the budget at 10,000/s, so that the share at 5,000/s is an upper bound
SIZES = {10: 784.0, 50: 110.0, 100: 110.0}
ROUNDS, ROUND_ROWS = 15, 3_000
#: what the shadow may add, in percent
MAX_SHARE = 15.0
Decide = Callable[[Sequence[Case], FloatArray], list[Decision]]


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
        now_ms = int(time.time() * 1000)
        self.cases = [
            Case(msgspec.convert(row, Transaction), int(END.timestamp() * 1000), now_ms, 0)
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
    alone = Decider()
    runs: dict[str, list[float]] = {name: [] for name in ("one model", *challengers)}
    for number in range(rounds + 1):
        took = {"one model": _us_a_row(lambda cases, matrix: alone.decide(cases, matrix, old), None, traffic.batches(size, rows))}  # fmt: skip
        for name, challenger in challengers.items():
            shadow = Shadow(Encoded())
            both, serving = ArmsDecider(shadow=shadow), Serving(old, challenger)
            took[name] = _us_a_row(
                lambda cases, matrix, both=both, serving=serving: both.decide(cases, matrix, serving),  # type: ignore[misc]
                shadow,
                traffic.batches(size, rows),
            )
        # the first round warms up
        if number:
            for name, us in took.items():
                runs[name].append(us)
    out = [Row(f"decide and encode, batches of {size}: {name}", values, "us a row") for name, values in runs.items()]  # fmt: skip
    for name in challengers:
        more = [with_it - without for with_it, without in zip(runs[name], runs["one model"], strict=True)]
        share = [100 * us / whole_us for us in more]
        out.append(
            Row(
                f"batches of {size}: {name}, more CPU a transaction",
                share,
                "%",
                at_least=f"{MAX_SHARE:g}" if name == "shadow" else "",
                note=f"of {whole_us:g} us, all processes",
            )
        )
    return out


def _us_a_row(
    decide: Decide, shadow: Shadow | None, batches: Sequence[tuple[list[Case], FloatArray]]
) -> float:
    """Microseconds of CPU a row, of all threads, until the shadow has sent its last record."""
    began = time.process_time()
    for cases, matrix in batches:
        for decision in decide(cases, matrix):
            encode(decision)
    if shadow is not None:
        shadow.close(within_s=60)
    return (time.process_time() - began) / sum(len(cases) for cases, _ in batches) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="simulated transactions to learn from")
    args = parser.parse_args()
    found = shown(shadow_rows(Traffic(args.rows)))
    if any(row.reached == "no" for row in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
