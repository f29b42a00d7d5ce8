"""The quality table: ``python -m loadtest.bench.learning.quality [--select [--only NAME …]]``, on public data that nobody here made, with the engine's features.

Protocols and published figures: ``../shared/data/README.md``. Nothing is chosen on test weeks: ``--select`` measures every kind of model on
folds whose tests end before the first of them begins, and what it chose is written here (``CHOSEN``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import NamedTuple

import msgspec
import numpy as np

from features.catalogue import CATALOGUE_HASH
from features.replay import replay
from models.training.dataset import DAY_MS, Dataset, from_history, in_order
from models.training.evaluation import auc_roc, average_precision, card_precision, without_known_frauds
from models.training.learners.parameters import Parameters
from models.training.protocol import Days, with_delay
from models.training.training import fit, margins
from streams.mapping import load_history, load_mapping

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "quality"
DELAY_DAYS = 7
WEEK = timedelta(days=7)
#: first day of each training week of the prequential protocol; the last one is the baseline's
TESTED = (date(2018, 8, 15), date(2018, 8, 8), date(2018, 8, 1), date(2018, 7, 25))
#: of the folds that parameters are chosen on: the last test week ends a day before the first one of ``TESTED`` begins
SELECTED_ON = (date(2018, 7, 18), date(2018, 7, 11), date(2018, 7, 4), date(2018, 6, 27))
SPARKOV_TEST, SPARKOV_SELECT = (0.8, 1.0), (0.6, 0.8)


class Figures(NamedTuple):
    """AUC ROC, average precision, card precision at 100 (None where the protocol has none)."""

    auc: float
    ap: float
    cp: float | None = None


@dataclass(frozen=True)
class Protocol:
    """A line of the table: what was published, what is asked for at least, and then."""

    name: str
    published: Figures
    least: Figures
    then: Figures


BASELINE = Protocol(
    "Handbook baseline", Figures(0.871, 0.658, 0.291), Figures(0.89, 0.70, 0.295), Figures(0.90, 0.72, 0.305)
)
PREQUENTIAL = Protocol(
    "Handbook prequential, mean of 4", Figures(0.876, 0.694, 0.304), Figures(0.883, 0.71, 0.306),
    Figures(0.89, 0.73, 0.315),
)  # fmt: skip
SPARKOV = Protocol(
    "Sparkov, first 80 % → last 20 %", Figures(0.998, 0.922), Figures(0.999, 0.97), Figures(0.9995, 0.98)
)
#: what ``--select`` compares
CANDIDATES: dict[str, Parameters] = {
    "boosted": Parameters(),
    "boosted, slower": Parameters(rounds=400, learning_rate=0.025),
    "boosted, strict": Parameters(
        rounds=300, learning_rate=0.03, max_depth=3, min_child_weight=20, reg_lambda=20
    ),
    "boosted, freer": Parameters(rounds=150, max_depth=5, min_child_weight=1, reg_lambda=1),
    "boosted, freer and longer": Parameters(
        rounds=400, max_depth=5, min_child_weight=1, reg_lambda=1, max_bin=256, max_rows=1_000_000
    ),
    "histogram": Parameters(kind="histogram"),
    "scorecard": Parameters(kind="scorecard"),
    "stack": Parameters(kind="stack"),
}
#: the highest average precision by ``--select``, on ``SELECTED_ON`` and ``SPARKOV_SELECT``
CHOSEN = dict.fromkeys(("handbook", "sparkov"), "boosted, freer and longer")


def data_of(name: str, folder: Path = DATA) -> Dataset:
    """A public file with the engine's features, which are computed once for each catalogue and kept in ``.cache``."""
    history = in_order(
        with_delay(load_history(folder / f"{name}_transactions.parquet", load_mapping(name)), DELAY_DAYS)
    )
    path = CACHE / f"{name}-{CATALOGUE_HASH}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.stem}.part.npy")
        np.save(part, replay(history))
        part.replace(path)
    matrix = np.load(path)
    return from_history(history, lambda _: matrix)


def week_fold(data: Dataset, first: date) -> tuple[Dataset, Dataset]:
    """A training week, and the week that begins 7 days after it without cards known to be compromised."""
    train, test = (
        Days(day, day + WEEK - timedelta(days=1))
        for day in (first, first + WEEK + timedelta(days=DELAY_DAYS))
    )
    testing = data.between(test.start_ms, test.end_ms)
    return (
        data.between(train.start_ms, train.end_ms),
        without_known_frauds(testing, data, DELAY_DAYS, train.start_ms, train.end_ms),
    )


def share_fold(data: Dataset, begin: float, end: float) -> tuple[Dataset, Dataset]:
    """Rows up to the share ``begin`` whose labels are known by then, and those up to ``end``."""
    first, last = (int(len(data) * share) for share in (begin, end))
    test = data.take(np.arange(first, last))
    return data.between(0, int(test.event_ms[0]) - DELAY_DAYS * DAY_MS), test


def figures(parts: tuple[Dataset, Dataset], parameters: Parameters, *, cards: bool = True) -> Figures:
    """Fit on the first part, measure on the second."""
    train, test = parts
    scores = margins(fit(train, parameters), test.matrix)
    auc, ap = auc_roc(test.fraud, scores), average_precision(test.fraud, scores)
    assert auc is not None and ap is not None
    return Figures(auc, ap, card_precision(test, scores) if cards else None)


def mean(found: Sequence[Figures]) -> Figures:
    """Of several folds."""
    cards = [one.cp for one in found if one.cp is not None]
    return Figures(
        float(np.mean([one.auc for one in found])), float(np.mean([one.ap for one in found])),
        float(np.mean(cards)) if cards else None,
    )  # fmt: skip


def measured(parameters: dict[str, Parameters], folder: Path = DATA) -> list[tuple[Protocol, Figures]]:
    """The three lines, with the parameters for each file."""
    handbook = data_of("handbook", folder)
    folds = [figures(week_fold(handbook, first), parameters["handbook"]) for first in TESTED]
    sparkov = figures(
        share_fold(data_of("sparkov", folder), *SPARKOV_TEST), parameters["sparkov"], cards=False
    )
    return [(BASELINE, folds[-1]), (PREQUENTIAL, mean(folds)), (SPARKOV, sparkov)]


def shown(lines: Sequence[tuple[Protocol, Figures]]) -> str:
    """The table in Markdown: AUC / average precision / card precision at 100."""
    out = ["| protocol | published best | measured | at least | then |", "|---|---|---|---|---|"]
    for protocol, found in lines:
        marks = [
            _said(wanted) + (" ✓" if reached(found, wanted) else "")
            for wanted in (protocol.published, protocol.least, protocol.then)
        ]
        out.append(f"| {protocol.name} | {marks[0]} | **{_said(found)}** | {marks[1]} | {marks[2]} |")
    return "\n".join([*out, "", "✓: reached in every figure. Figures are compared as they are printed."])


def reached(found: Figures, wanted: Figures) -> bool:
    """Whether every figure, to three digits, is at least what is wanted."""
    pairs = zip(found, wanted, strict=True)
    return all(ours is None or least is None or round(ours, 3) >= least for ours, least in pairs)


def _said(found: Figures) -> str:
    return " / ".join(
        f"{value:.4f}".rstrip("0").ljust(5, "0") if value >= 0.99 else f"{value:.3f}"
        for value in found
        if value is not None
    )


def select(folder: Path, names: Sequence[str]) -> str:
    """Candidates on the folds that parameters may be chosen on."""
    handbook = data_of("handbook", folder)
    weeks = [week_fold(handbook, first) for first in SELECTED_ON]
    sparkov = share_fold(data_of("sparkov", folder), *SPARKOV_SELECT)
    out = ["| candidate | Handbook, 4 earlier folds | Sparkov, 60 → 80 % | CPU s |", "|---|---|---|---|"]
    for name in names:
        parameters, start = CANDIDATES[name], process_time()
        found = mean([figures(fold, parameters) for fold in weeks])
        other = figures(sparkov, parameters, cards=False)
        out.append(f"| {name} | {_said(found)} | {_said(other)} | {process_time() - start:.0f} |")
        print(out[-1], file=sys.stderr)
    return "\n".join(out)


def main() -> int:
    """Print the table; 2 without the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--select", action="store_true", help="measure the candidates on earlier folds")
    parser.add_argument("--only", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    if not (args.data / "handbook_transactions.parquet").exists():
        print(f"the public data are not in {args.data}", file=sys.stderr)
        return 2
    if args.select:
        print(select(args.data, args.only))
        return 0
    chosen = {name: CANDIDATES[kind] for name, kind in CHOSEN.items()}
    lines = measured(chosen, args.data)
    print(f"Measured {datetime.now(UTC):%Y-%m-%d} with features of catalogue {CATALOGUE_HASH}.\n")
    print(shown(lines))
    for name, kind in CHOSEN.items():
        print(f"\n{name}: {kind}, {msgspec.json.encode(chosen[name]).decode()}")
    return 0 if all(reached(found, protocol.published) for protocol, found in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
