"""The generations table: ``python -m loadtest.bench.learning.generations_table [--plot FILE]``; exit code 1 if it does not hold.

It holds if recall with exploration, and without it by inference, is not below the interval of a life in which every label is known: neither
in the last generations together, nor in more than one generation in ten. The same is said of the other treatments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from loadtest.bench.learning.generations import TREATMENTS, Generation, Size, Treatment, live
from models.performance.ratio import Ratio, share
from models.training.learners.parameters import Parameters

#: the last generations are judged together
LAST = 3
Lives = Mapping[Treatment, Sequence[Generation]]


def run(size: Size, workers: int = 2) -> Lives:
    """All treatments, each in a process."""
    with ProcessPoolExecutor(workers) as pool:
        jobs = {treatment: pool.submit(live, treatment, size) for treatment in TREATMENTS}
        return {treatment: job.result() for treatment, job in jobs.items()}


def last_recall(found: Sequence[Generation]) -> Ratio:
    """Recall of the last generations together."""
    some = found[-LAST:]
    fraud, stopped, card = (
        np.concatenate([getattr(one, name) for one in some]) for name in ("fraud", "stopped", "card")
    )
    return share(fraud & stopped, fraud, card)


def below(ours: Ratio, reference: Ratio) -> bool:
    """Whether an estimate lies below another's interval."""
    assert ours.estimate is not None and reference.low is not None
    return ours.estimate < reference.low


def generations_below(lives: Lives, treatment: Treatment) -> list[int]:
    """The numbers of the generations whose recall is below the interval of the life in which all is known."""
    pairs = zip(lives[treatment], lives["all known"], strict=True)
    return [number for number, (ours, known) in enumerate(pairs, 1) if below(ours.recall, known.recall)]


def holds(lives: Lives, treatment: Treatment) -> bool:
    """Whether recall is kept."""
    last = below(last_recall(lives[treatment]), last_recall(lives["all known"]))
    return not last and len(generations_below(lives, treatment)) <= len(lives[treatment]) // 10


def shown(lives: Lives, size: Size) -> str:
    """The table in Markdown."""
    out = [
        f"{size.payments_a_week:,} payments a week on {size.cards:,} cards, {size.fraud_rate:.1%} of them fraud; exploration lets {size.share:.0%} of"
        f" the would-be declines through to review, at most {size.cap_minor / 100:,.0f} a day in each currency. Seed {size.seed}.",
        "",
        "Recall of each generation's week, by the truth, with its 95 % interval (cards are the unit); in brackets average precision.",
        "",
        "| generation | " + " | ".join(f"declined payments: {name}" for name in TREATMENTS) + " |",
        "|---|" + "---|" * len(TREATMENTS),
    ]
    for number in range(size.generations):
        cells = [_cell(lives[name][number]) for name in TREATMENTS]
        out.append(f"| {number + 1} | " + " | ".join(cells) + " |")
    last = {name: last_recall(lives[name]) for name in TREATMENTS}
    out.append(f"| last {LAST} together | " + " | ".join(_said(last[name]) for name in TREATMENTS) + " |")
    out += [
        "",
        "| of all generations | " + " | ".join(TREATMENTS) + " |",
        "|---|" + "---|" * len(TREATMENTS),
    ]
    counts: list[tuple[str, Callable[[Generation], int]]] = [
        ("declined by the policy", lambda one: one.declined),
        ("let through", lambda one: one.let_through),
        ("of these frauds", lambda one: one.let_through_frauds),
    ]
    for name, count in counts:
        sums = [sum(map(count, lives[treatment])) for treatment in TREATMENTS]
        out.append(f"| {name} | " + " | ".join(f"{found:,}" for found in sums) + " |")
    learnt = [f"{lives[name][-1].learnt_frauds:,} of {lives[name][-1].learnt_rows:,}" for name in TREATMENTS]
    out.append("| frauds of the rows that the last model learnt from | " + " | ".join(learnt) + " |")
    out.append(
        "| precision of the last generation | "
        + " | ".join(_said(lives[name][-1].precision) for name in TREATMENTS)
        + " |"
    )
    out += [
        "",
        "Generations whose recall is below the interval of the life in which all is known, and whether recall is kept:",
        "",
    ]
    for name in TREATMENTS[1:]:
        numbers = generations_below(lives, name)
        said = ", ".join(map(str, numbers)) or "none"
        out.append(f"- {name}: {said}: {'holds' if holds(lives, name) else 'DOES NOT HOLD'}")
    return "\n".join(out)


def _cell(one: Generation) -> str:
    return f"{_said(one.recall)} ({one.average_precision:.2f})"


def _said(found: Ratio) -> str:
    if found.estimate is None or found.low is None or found.high is None:
        return "-"
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def plot(lives: Lives, path: Path) -> None:
    """Recall by generation; the band is the interval of the life in which all is known."""
    figure, axes = plt.subplots(figsize=(8, 4.5), constrained_layout=True)
    numbers = np.arange(1, len(lives["all known"]) + 1)
    for name in TREATMENTS:
        found = [one.recall for one in lives[name]]
        axes.plot(numbers, [one.estimate or 0.0 for one in found], marker="o", label=name)
        if name == "all known":
            axes.fill_between(
                numbers, [one.low or 0.0 for one in found], [one.high or 1.0 for one in found], alpha=0.15
            )
    axes.set(
        xlabel="generation (week, each with a new model)", ylabel="recall", xticks=numbers,
        title="What is learnt from declined payments, which have no outcome",
    )  # fmt: skip
    axes.legend(title="declined payments")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=10)
    parser.add_argument("--payments", type=int, default=30_000, help="a week")
    parser.add_argument("--share", type=float, default=0.1, help="of the would-be declines, with exploration")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="half the payments and cards, eight generations")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    size = Size(generations=args.generations, payments_a_week=args.payments, share=args.share, seed=args.seed)
    if args.quick:
        size = replace(
            size, generations=8, payments_a_week=15_000, cards=2_500, fraud_rate=0.012, parameters=Parameters(rounds=60)
        )  # fmt: skip
    lives = run(size)
    print(shown(lives, size))
    if args.plot is not None:
        plot(lives, args.plot)
    return 0 if all(holds(lives, name) for name in ("explored", "inferred")) else 1


if __name__ == "__main__":
    sys.exit(main())
