"""Gates of a model in operation: time and size on the scorer, and decisions that small changes of the values turn over."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from features.catalogue import FEATURES
from models.policy.policy import Policy
from models.policy.rules.columns import TableColumns
from models.training.dataset import Dataset, FloatArray
from models.training.gates.check import GateCheck, GateResult
from models.training.gates.limits import Limits
from models.training.gates.side import Contender, Side

BATCH = 256
_RUNS = 9
#: rows that are changed a little
_NUDGED = 20_000
#: units of values that are names: the next number is another name, not a small change
_CODES = ("0 pos", "merchant category", "three letters", "0 = Monday", "0/1", "hour")


def latency_check(
    candidate: Contender, live: Contender, rows: Dataset, limits: Limits, clock: Callable[[], float] = perf_counter
) -> GateCheck:  # fmt: skip
    """The fastest of some batches of ``BATCH`` rows, both models in turn: others may use the machine meanwhile."""
    batches = {ours: _batch((candidate if ours else live).taken(rows)) for ours in (True, False)}
    took: dict[bool, float] = {True: float("inf"), False: float("inf")}
    for _ in range(_RUNS):
        for ours in (True, False):
            start = clock()
            (candidate if ours else live).score(batches[ours])
            took[ours] = min(took[ours], (clock() - start) * 1000)
    limit = max(limits.latency * took[False], took[False] + limits.latency_ms)
    return GateCheck(
        name="latency", result="fail" if took[True] > limit else "pass", n=BATCH, estimate=took[True], limit=limit,
        why=f"{took[True]:.2f} ms for {BATCH} rows, the live model {took[False]:.2f} ms",
    )  # fmt: skip


def size_check(candidate: Contender, live: Contender, limits: Limits) -> GateCheck:
    """Bytes of the model, which a replica holds in memory."""
    if not candidate.bytes or not live.bytes:
        return GateCheck(name="size", result="too_few", n=0, why="the size of a model is not known")
    limit = float(max(limits.size * live.bytes, limits.size_bytes))
    return GateCheck(
        name="size", result="fail" if candidate.bytes > limit else "pass", n=1, estimate=float(candidate.bytes), limit=limit,
        why=f"{candidate.bytes:,} bytes, the live model {live.bytes:,}",
    )  # fmt: skip


def stability_check(
    rows: Dataset, candidate: Contender, live: Contender, policy: Policy, live_policy: Policy, limits: Limits
) -> GateCheck:
    """The share of decisions by score that change when each value changes at random by up to ``nudge``."""
    some = rows.take(np.arange(max(0, len(rows) - _NUDGED), len(rows)))
    ours, theirs = (
        _turned(side.taken(some), side, rules, limits.nudge)
        for side, rules in ((candidate, policy), (live, live_policy))
    )
    error = float(np.sqrt(ours * (1 - ours) / max(1, len(some))))
    limit = max(limits.unstable, 2 * theirs)
    low, high = max(0.0, ours - 1.96 * error), ours + 1.96 * error
    result: GateResult = "fail" if low > limit else "inconclusive" if ours > limit else "pass"
    return GateCheck(
        name="stability", result=result, n=len(some), estimate=ours, low=low, high=high, limit=limit,
        why=f"{ours:.2%} of the decisions change with values {limits.nudge:.0%} larger or smaller, the live model's {theirs:.2%}",
    )  # fmt: skip


def nudge(matrix: FloatArray, share: float) -> FloatArray:
    """Each value times a random factor in [1 - share, 1 + share]; names, flags and attributes stay (n, width)."""
    factor = np.random.default_rng(11).uniform(1 - share, 1 + share, matrix.shape).astype(np.float32)
    factor[:, np.flatnonzero([feature.unit.startswith(_CODES) for feature in FEATURES])] = 1.0
    factor[:, len(FEATURES) :] = 1.0
    return np.asarray(matrix * factor, dtype=np.float32)


def rules_check(candidate: Side, columns: TableColumns | None, rows: int) -> GateCheck:
    """No rule of the live policy fails beside the new model."""
    failed = "; ".join(f"{name}: {error}" for name, error in candidate.errors.items())
    whole = (
        "the whole live policy decides"
        if columns is not None
        else "fields are not known: only scores and features decide"
    )
    result: GateResult = "fail" if failed else "pass"
    if candidate.absent and not failed:
        result, whole = (
            "inconclusive",
            f"without a field that they name: {', '.join(sorted(candidate.absent))}",
        )
    return GateCheck(
        name="policy", result=result, n=rows, estimate=float(len(candidate.errors)), limit=0.0,
        why=failed or whole,
    )  # fmt: skip


def _batch(matrix: FloatArray) -> FloatArray:
    return np.ascontiguousarray(np.resize(matrix, (BATCH, matrix.shape[1])))


def _turned(matrix: FloatArray, side: Contender, policy: Policy, share: float) -> float:
    if not len(matrix):
        return 0.0
    nudged = nudge(matrix, share)
    before, after = (policy.decide(side.score(values), values)[0] for values in (matrix, nudged))
    return float((before != after).mean())
