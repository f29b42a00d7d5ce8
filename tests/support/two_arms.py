"""A champion and a challenger for tests: the sample model, and the same with other scores and another policy."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec
import numpy as np

from models.bundle.content import Bundle, load_bundle
from models.scoring.scorer import Scorer
from services.scoring.decision.decider import Case
from services.scoring.model.serving import Challenger
from streams.contracts.shadow import ShadowBatch
from tests.support.archive_samples import START_MS, transaction
from tests.support.bundle_samples import publish_sample
from tests.support.models_data import make_dataset
from tests.support.waiting import STALL_S

OLD, NEW = "1.0.0", "2.0.0"
SALT = "5a17"


#: payments of 60 cards
MATRIX = make_dataset(200, seed=3).matrix
CARDS = [f"card-{number % 60}" for number in range(len(MATRIX))]


def cases_of(cards: Sequence[str]) -> list[Case]:
    """A payment of each card, all at ``START_MS``."""
    made = [
        msgspec.structs.replace(transaction(row, START_MS), card_id=card) for row, card in enumerate(cards)
    ]
    return [Case(tx, START_MS, START_MS, 0) for tx in made]


CASES = cases_of(CARDS)


def at(share: float, scorer: Scorer, *, shadow: bool = False) -> Challenger:
    """The challenger of a run, with a share of the cards."""
    return Challenger(scorer, share, SALT, shadow, run="run-1")


class Obstinate(Scorer):
    """A scorer that can be told to fail, or to score nothing before ``go_on`` is set."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, measure=False)
        self.fails = False
        self.go_on = threading.Event()
        self.go_on.set()

    def score(self, matrix: Any) -> Any:
        assert self.go_on.wait(STALL_S)
        if self.fails:
            raise MemoryError("no room for a batch")
        return super().score(matrix)


@cache
def _bundle() -> Bundle:
    return load_bundle(*publish_sample(Path(mkdtemp(prefix="tollgate-arms-")), OLD))


def champion() -> Scorer:
    return Scorer(_bundle(), measure=False)


def challenger() -> Obstinate:
    """Scores higher than the champion, and its policy has another version."""
    bundle = _bundle()
    shifted = msgspec.structs.replace(bundle.calibration, intercept=3.0)
    policy = msgspec.structs.replace(bundle.policy, version="2")
    return Obstinate(dataclasses.replace(bundle, version=NEW, policy=policy, calibration=shifted))


class Kept:
    """Keeps the records of `shadow`."""

    def __init__(self) -> None:
        self.batches: list[ShadowBatch] = []

    def publish(self, batch: ShadowBatch) -> None:
        self.batches.append(batch)

    def serve(self) -> None:
        pass

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        """(card, champion's code, challenger's code) of all payments."""
        out: list[tuple[str, int, int]] = []
        for batch in self.batches:
            codes = [
                np.frombuffer(raw, np.int8).tolist() for raw in (batch.champion_codes, batch.challenger_codes)
            ]
            out += zip(batch.cards, *codes, strict=True)
        return out
