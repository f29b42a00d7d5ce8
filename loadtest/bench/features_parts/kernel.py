"""The kernels alone, without decoding and Redis: CPU time of the one thread that runs them, on prepared inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import thread_time

import numpy as np
import numpy.typing as npt

from features.engine import Profiles
from features.kernels.columns import PAYMENT
from features.kernels.payer import CARD_COLUMNS, CUSTOMER_COLUMNS
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from loadtest.bench.features_parts.batches import BATCH, Batch, do_batch, gathered
from loadtest.bench.features_parts.sparse import scattered
from loadtest.bench.features_parts.traffic import SEED, Traffic, make_traffic, warm_state
from loadtest.bench.harness.table import Row

RUNS = 7
DAY_MS = 86_400_000
UNIT = "us an event"
END = datetime(2026, 11, 1, tzinfo=UTC)


def kernel_rows(cards: int, batches_a_run: int, sizes: Sequence[int]) -> list[Row]:
    """The kernel on simulated traffic, then over more and more entities, then over other spans and longer histories."""
    traffic = make_traffic(cards, RUNS * batches_a_run * BATCH, END)
    state, batches = warm_state(traffic), _measured(traffic)
    # first, while the profiles hold only the history: the sizes copy them
    by_size = _by_size(batches, state, sizes)
    about = f"{len(traffic.card_names):,} cards, {traffic.warm:,} payments of history"
    what = "kernel, batches of 256, all entities and entries"
    targets = ("3", "1.5")
    whole = [
        Row(
            f"{what}, profiles gathered as in production",
            [_gathered(share, state) for share in _shares(batches)], UNIT, *targets, note=about,
        ),
        Row(f"{what}, profiles in one arena", _runs(batches, state), UNIT, *targets, note=about),
    ]  # fmt: skip
    return [*whole, *by_size, *_by_span(), *_by_history()]


def _measured(traffic: Traffic) -> list[Batch]:
    starts = range(traffic.warm, len(traffic.columns) - BATCH + 1, BATCH)
    return [traffic.batch(start, start + BATCH) for start in starts]


def _runs(batches: list[Batch], state: Profiles) -> list[float]:
    """us an event of RUNS equal shares of the batches, one after the other."""
    return [_resident(share, state) for share in _shares(batches)]


def _shares(batches: list[Batch]) -> list[list[Batch]]:
    each = len(batches) // RUNS
    return [batches[run * each : (run + 1) * each] for run in range(RUNS)]


def _resident(batches: list[Batch], state: Profiles) -> float:
    """us an event over profiles in one large arena."""
    began = thread_time()
    done = [do_batch(batch, state) for batch in batches]
    spent = thread_time() - began
    _check(done)
    return spent * 1e6 / sum(len(rows) for rows in done)


def _gathered(batches: list[Batch], state: Profiles) -> float:
    """us an event over profiles that were gathered for the batch; the gathering is not counted."""
    spent = 0.0
    for batch in batches:
        small, own = gathered(batch, state)
        began = thread_time()
        rows = do_batch(small, own)
        spent += thread_time() - began
        _check([rows])
    return spent * 1e6 / (len(batches) * BATCH)


def _check(done: list[npt.NDArray[np.float32]]) -> None:
    """Check that every row was computed in full.

    Raises:
        ValueError: a payment had been applied before; the kernel skips such rows at nearly no cost.
    """
    for rows in done:
        if np.isnan(rows[:, [CARD_COLUMNS, CUSTOMER_COLUMNS]]).any():
            raise ValueError("a payment that was measured had been applied before")


def _by_size(batches: list[Batch], warm: Profiles, sizes: Sequence[int]) -> list[Row]:
    """Profiles gathered for each batch, as in production, and in one arena, where a larger arena costs cache misses.

    The sizes run in turn, so that other load on the machine affects all of them alike.
    """
    worlds = [scattered(batches, warm, size, SEED) for size in sizes]
    rows: list[Row] = []
    # gathering leaves the arenas as they are, so it comes first
    for measure, where, target in (
        (_gathered, "gathered into the batch's own arena", "flat within 20 %"),
        (_resident, "anywhere in one arena", ""),
    ):
        shares = [_shares(moved) for moved, _ in worlds]
        runs: list[list[float]] = [[] for _ in sizes]
        for run in range(RUNS):
            for k, (_, state) in enumerate(worlds):
                runs[k].append(measure(shares[k][run], state))
        lines = [
            Row(f"the same, {size:,} of each entity, {where}", own, UNIT)
            for size, own in zip(sizes, runs, strict=True)
        ]
        rows += _compared(lines, target)
    return rows


def _compared(rows: list[Row], target: str) -> list[Row]:
    """The rows, each with its ratio to the first."""
    first = rows[0].middle
    return [replace(row, at_least=target, factor=f"{row.middle / first:.2f} of {first:.2f}") for row in rows]


def _by_span() -> list[Row]:
    """As many payments, within an hour or within 30 days: what a longer window costs."""
    return _histories(
        [
            ("windows: 100 payments of each entity within 1 h", 2048, 100, DAY_MS // 24),
            ("windows: the same 100 within 30 d", 2048, 100, 30 * DAY_MS),
        ]
    )


def _by_history() -> list[Row]:
    """Once the lists are full, a longer history costs nothing more."""
    return _histories(
        [
            ("history: 130 payments of each entity in 30 d", 512, 130, 30 * DAY_MS),
            ("history: 3,000 payments of each entity in 30 d", 512, 3000, 30 * DAY_MS),
        ]
    )


def _histories(wanted: list[tuple[str, int, int, int]]) -> list[Row]:
    """One row per (name, entities, payments of each, span in ms); they run in turn, each compared with the first."""
    worlds = [_history(entities, payments, span_ms) for _, entities, payments, span_ms in wanted]
    runs: list[list[float]] = [[] for _ in wanted]
    for run in range(RUNS):
        for k, (batches, state) in enumerate(worlds):
            runs[k].append(_resident(_shares(batches)[run], state))
    rows = [Row(name, own, UNIT) for (name, *_), own in zip(wanted, runs, strict=True)]
    return _compared(rows, "flat within 20 %")


def _history(entities: int, payments: int, span_ms: int) -> tuple[list[Batch], Profiles]:
    """Entities with so many payments evenly over a span, and four rounds a run of one payment each right after it."""
    rng = np.random.default_rng(SEED)
    state = Profiles(
        new_arena(PAYER, entities), new_arena(PAYER, entities), new_arena(SHARED_ENTITY, 3 * entities),
        new_arena(FRAUDS, 2 * entities),
    )  # fmt: skip
    end_ms = 1_793_491_200_000
    for k in range(payments):
        for batch in _round(rng, entities, end_ms - span_ms + span_ms * k // payments):
            do_batch(batch, state)
    return [batch for k in range(4 * RUNS) for batch in _round(rng, entities, end_ms + k)], state


def _round(rng: np.random.Generator, entities: int, at_ms: int) -> list[Batch]:
    """One payment of each entity at one moment."""
    columns = np.zeros(entities, dtype=PAYMENT)
    columns["event_ms"] = at_ms
    columns["offset"] = -1
    columns["amount"] = rng.integers(100, 20_000, entities)
    for name, most in (("id_hash", 1 << 32), ("merchant_hash", 20), ("device_hash", 4)):
        columns[name] = rng.integers(1, most, entities)
    columns["country"] = rng.integers(1, 4, entities)
    columns["latitude"], columns["longitude"] = rng.uniform(-50, 50, (2, entities))
    columns["mcc"] = rng.integers(5000, 5010, entities)
    slots = np.arange(entities)
    hashes = rng.integers(1, 1 << 32, entities).astype(np.uint32)
    shared_entities = np.column_stack([slots, slots + entities, slots + 2 * entities])
    frauds = np.column_stack([slots, slots + entities])
    return [
        Batch(columns[p], slots[p], slots[p], shared_entities[p], frauds[p], hashes[p])
        for p in (slice(start, start + BATCH) for start in range(0, entities, BATCH))
    ]
