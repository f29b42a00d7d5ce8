"""While processes are restarted one after the other, one batch holds records of two catalogues: what becomes of each."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from features.catalogue import CATALOGUE_HASH, INDEX, WIDTH
from features.vector_layouts import OWN, Layout, aligned_columns
from models.bundle.content import load_bundle
from models.decision import Decision
from models.policy.policy import Policy, Rule
from models.scoring.scorer import Scorer
from services.scoring.model.serving import Serving
from services.scoring.stream import worker as stream
from services.scoring.stream.worker import StreamScorer
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import Layouts
from streams.runtime.settings import Settings
from tests.support.archive_samples import features
from tests.support.bundle_samples import publish_sample
from tests.support.catalogue_samples import (
    AFTER,
    BEFORE,
    NEW,
    as_written_by,
    bundle_before,
    layout,
    margins_before,
)
from tests.support.feature_batches import decode_features, encode_features
from tests.support.models_data import make_dataset
from tests.support.stream_fakes import Message, Producer, assign

CHANGED = layout("ca" * 8, OWN.names, changed=["card_sum_7d"])
LAYOUTS = {made.catalogue: made for made in (BEFORE, AFTER, CHANGED)}
ROWS = make_dataset(24, seed=12).matrix


def own(number: int) -> FeatureRecord:
    record = decode_features(features(number).value or b"")
    return msgspec.structs.replace(record, vector=ROWS[number].tobytes())


def decide(tmp_path: Path, scorer: Scorer | None, records: list[FeatureRecord]) -> list[Decision]:
    live: Any = SimpleNamespace(serving=Serving(scorer))
    worker = StreamScorer(Settings(home=str(tmp_path)), "test", live, Layouts(LAYOUTS.get), threading.Event())
    producer = Producer()
    assign(worker, {0: -1})
    messages: Any = [Message(record.offset, encode_features(record)) for record in records]
    to: Any = producer
    with pytest.MonkeyPatch.context() as patch:
        # compiling may take longer than a replica may stand still
        patch.setattr(stream, "FRESH_S", float("inf"))
        worker._handle(messages, to)
    assert not producer.letters and len(producer.decisions) == len(records)
    return [msgspec.json.decode(value, type=Decision) for value in producer.decisions]


def mixed() -> tuple[list[FeatureRecord], list[Layout]]:
    """Own and older records by turns."""
    writers = [OWN if number % 2 else BEFORE for number in range(len(ROWS))]
    return [
        own(number) if writer is OWN else as_written_by(writer, own(number))
        for number, writer in enumerate(writers)
    ], writers


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(bundle_before(tmp_path_factory.mktemp("before")), measure=False)


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(load_bundle(*publish_sample(tmp_path_factory.mktemp("today"))), measure=False)


def test_an_older_model_scores_both_as_older_code_did(tmp_path: Path, before: Scorer) -> None:
    records, writers = mixed()
    found = decide(tmp_path, before, records)
    # what code of the catalogue before makes of the same payments: its own model on its own columns
    expected = before.bundle.calibration.apply(margins_before(ROWS))
    assert [d.score for d in found] == [round(score, 6) for score in expected.tolist()]
    assert {d.status for d in found} == {"scored"} and not any(d.degraded_by for d in found)
    assert [d.features_version for d in found] == [writer.catalogue for writer in writers]
    # the very bits, before they are rounded for people
    vectors = [np.frombuffer(record.vector, "<f4")[None] for record in records]
    rows = [aligned_columns(v, OWN.places_in(w)) for v, w in zip(vectors, writers, strict=True)]
    assert (before.score(np.concatenate(rows)).view(np.uint32) == expected.view(np.uint32)).all()


def test_a_model_that_needs_the_new_entry_scores_own_records_only(tmp_path: Path, today: Scorer) -> None:
    records, writers = mixed()
    found = decide(tmp_path, today, records)
    expected = today.score(ROWS).tolist()
    for decision, writer, score in zip(found, writers, expected, strict=True):
        if writer is OWN:
            assert (decision.status, decision.score) == ("scored", round(score, 6))
        else:
            assert (decision.status, decision.score) == ("not_scored", None)
            assert (decision.degraded_by, decision.decision) == (["catalogue"], "review")
        assert decision.features_version == writer.catalogue


def test_records_of_newer_code_are_scored_in_full(tmp_path: Path, today: Scorer) -> None:
    found = decide(tmp_path, today, [as_written_by(AFTER, own(0)), own(1)])
    assert [d.score for d in found] == [round(score, 6) for score in today.score(ROWS[:2]).tolist()]
    assert [(d.status, d.features_version) for d in found] == [
        ("scored", AFTER.catalogue),
        ("scored", CATALOGUE_HASH),
    ]


def test_a_changed_entry_is_not_read_as_if_it_were_the_same(tmp_path: Path, before: Scorer) -> None:
    assert "card_sum_7d" in BEFORE.names
    (found,) = decide(tmp_path, before, [as_written_by(CHANGED, own(0))])
    assert (found.status, found.degraded_by, found.score) == ("not_scored", ["catalogue"], None)


def test_rules_see_what_is_known_of_a_record_that_is_not_scored(tmp_path: Path, today: Scorer) -> None:
    rule = Rule("large", "amount >= 0", "decline", "ann")
    found = decide(tmp_path, with_rules(today, rule), [as_written_by(BEFORE, own(0))])
    assert [(d.status, d.decision, d.rules) for d in found] == [("not_scored", "decline", ["large"])]
    unknown = layout("nobody's", OWN.names)
    found = decide(tmp_path, with_rules(today, rule), [as_written_by(unknown, own(0))])
    assert [(d.status, d.decision, d.rules) for d in found] == [("not_scored", "review", [])]


def test_a_rule_on_an_entry_that_the_record_lacks_is_told(tmp_path: Path, before: Scorer) -> None:
    rule = Rule("often", f"{NEW[0]} > 1e9", "decline", "ann")
    older, ours = decide(tmp_path, with_rules(before, rule), [as_written_by(BEFORE, own(0)), own(1)])
    assert older.score is not None and (older.status, older.degraded_by) == ("degraded", ["catalogue"])
    assert (ours.status, ours.degraded_by) == ("scored", [])


def test_without_a_model_it_is_the_model_that_is_missing(tmp_path: Path) -> None:
    unknown = layout("nobody's", OWN.names)
    found = decide(tmp_path, None, [own(0), as_written_by(BEFORE, own(1)), as_written_by(unknown, own(2))])
    assert [d.degraded_by for d in found] == [["model"], ["model"], ["catalogue"]]
    assert {d.status for d in found} == {"not_scored"}


def with_rules(scorer: Scorer, *rules: Rule) -> Scorer:
    """The same model with other rules."""
    made = object.__new__(Scorer)
    made.__dict__.update(scorer.__dict__)
    made.policy = Policy(version="2", review=0.99, decline=1.0, rules=rules)
    return made


def test_what_rules_may_read_is_every_word_that_is_a_feature() -> None:
    policy = Policy(
        version="1", review=0.5, decline=0.9,
        rules=(
            Rule("a", "AMOUNT > 3 AND country <> 'FR'", "review", "ann"),
            Rule("b", "features.hour < 3", "review", "ann"),
        ),
    )  # fmt: skip
    assert policy.features == {"amount", "hour"} and policy.features <= INDEX.keys()
    assert len(INDEX) == WIDTH
