"""What the watch makes of tests: reports, confirmation, requests; the tests here are fakes with a verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from features.catalogue import FEATURES, INDEX, NAMES, WIDTH
from models.bundle.attribute_columns import AttributeColumn, AttributeColumns
from models.bundle.reference import Reference
from models.drift.requests import RetrainingPolicy
from models.drift.window import WindowPolicy
from streams.drift.comparable import COMPARABLE, DECISION, NEEDED, SCORE, Baseline
from streams.drift.detectors import Difference
from streams.drift.live_reference import read_reference
from streams.drift.rounds import DriftPolicy
from streams.drift.watch import DriftWatch, Sampler
from streams.log.other_catalogues import Layouts
from streams.log.records import HEADER_NOBODY_WAITS
from tests.support.archive_samples import START_MS, Record, decisions, features
from tests.support.catalogue_samples import (
    BEFORE,
    NEW,
    UNKNOWN,
    content_before,
    kafka_record_of,
    layout,
    publish_before,
)
from tests.support.feature_batches import decode_features, encode_features

#: rows of a window, and milliseconds of event time between two of them
ROWS, STEP_MS = 300, 1000
#: in no order of time
AMOUNTS = np.random.default_rng(0).permutation(ROWS)
POLICY = RetrainingPolicy(confirm_rounds=2, cooldown_s=100.0)


def test_the_sample_is_bounded_and_spread():
    sampler = Sampler(rows_per_s=10, burst_s=1)
    assert sampler.take(list(range(100)), 100.0) == list(range(0, 100, 10))
    assert len(sampler.take(list(range(100)), 100.0)) == 1
    taken = sum(len(sampler.take(list(range(1000)), 100.0 + step / 10)) for step in range(1, 101))
    assert taken <= 210
    assert sampler.take([], 500.0) == []


def test_every_comparable_column_exists_and_says_why():
    assert all(column.name in INDEX or column.name in (SCORE, DECISION) for column in COMPARABLE)
    assert set(INDEX) >= NEEDED
    assert all(column.why for column in COMPARABLE)
    alone = [
        c
        for c in COMPARABLE
        if c.name not in (SCORE, DECISION) and FEATURES[INDEX[c.name]].source == "transaction"
    ]
    assert alone == [c for c in COMPARABLE if c.since == "always"]


class Told:
    """A test with a given verdict: on numbers (``ks``), or on all columns."""

    def __init__(self, name: str = "ks", takes: str = "number") -> None:
        self.name, self.takes = name, takes
        self.differs = False
        self.windows: list = []

    def test(self, before, now):
        self.windows.append(now)
        return Difference(0.4, 1e-9, 0.4) if self.differs else Difference(0.0, 0.9, 0.0)


def row(number: int, factor: float = 1.0):
    """A record of `features` whose amount is the row's number, or far beyond all of them; each row of another card."""
    record = features(number, event_ms=START_MS + number * STEP_MS)
    return changed(record, amount=float(AMOUNTS[number % ROWS]) * factor)


def changed(record: Record, **values: float) -> Record:
    sample = decode_features(record.value)
    vector = np.frombuffer(sample.vector, "<f4").copy()
    for name, value in values.items():
        vector[INDEX[name]] = value
    card = msgspec.structs.replace(sample.transaction, card_id=f"card-{record.offset}")
    return replace(
        record,
        value=encode_features(msgspec.structs.replace(sample, vector=vector.tobytes(), transaction=card)),
    )


REFERENCE_ROWS = np.full((400, WIDTH), np.nan, np.float32)
REFERENCE_ROWS[:, INDEX["amount"]] = np.arange(400) % ROWS
REFERENCE = Reference(REFERENCE_ROWS, np.zeros(400, np.float32), NAMES)


def watched(tmp_path, published, publish=None, layouts=UNKNOWN):
    policy = DriftPolicy(
        WindowPolicy(rows=ROWS, min_rows=ROWS, min_span_s=60, pause_s=1, rows_per_s=100_000),
        retraining=POLICY,
    )
    number, together = Told(), Told("classifier", "all")
    watch = DriftWatch(
        "fraud", [number, together], publish or (lambda *said: published.append(said)), tmp_path / "requests.json", layouts, policy,
    )  # fmt: skip
    return watch, number


def feed(watch, window: int, now_s: float, factor: float = 1.0) -> None:
    first = window * ROWS
    watch.add_features([row(n, factor) for n in range(first, first + ROWS)], now_s)
    watch.tick(now_s)


def test_the_watch_reports_confirms_and_asks_once(tmp_path):
    published: list = []
    watch, ks = watched(tmp_path, published)
    feed(watch, 0, 1000.0)
    assert published == []  # nothing is live: nothing to compare with
    watch.use_model("1.0.0", REFERENCE)
    feed(watch, 1, 1002.0)
    assert [row.feature for row in published[-1][0]] == ["*"] and published[-1][1] is None
    ks.differs = True
    feed(watch, 2, 1004.0, 100)
    # once is not enough
    assert [row.feature for row in published[-1][0]] == ["*"] and published[-1][1] is None
    feed(watch, 3, 1006.0, 100)
    assert {row.feature: row.severity for row in published[-1][0]} == {"amount": "critical", "*": "none"}
    request = published[-1][1]
    assert request.reason == "drift" and request.model == "fraud" and request.cooldown_s == 100.0
    (evidence,) = request.evidence
    assert evidence["feature"] == "amount" and evidence["statistic"] == 0.4 and evidence["rows"] == ROWS
    assert evidence["psi"] > 1
    assert request.data_to.timestamp() * 1000 == START_MS + (4 * ROWS - 1) * STEP_MS
    assert request.data_from < request.data_to
    feed(watch, 4, 1008.0, 100)
    assert published[-1][1] is None
    # a restart forgets the window, not the request
    again, ks = watched(tmp_path, published)
    again.use_model("1.0.0", REFERENCE)
    ks.differs = True
    for step in range(3):
        feed(again, 5 + step, 1010.0 + 2 * step, 100)
    assert all(request is None for _, request in published[4:])
    # while it lasts, it is asked again after the cooldown, with the same key
    feed(again, 8, 1107.0, 100)
    assert published[-1][1].dedupe_key == request.dedupe_key
    ks.differs = False
    feed(again, 9, 1120.0)
    assert {row.feature: row.severity for row in published[-1][0]} == {"amount": "none", "*": "none"}
    feed(again, 10, 1122.0)
    assert [row.feature for row in published[-1][0]] == ["*"]


def test_a_replay_is_no_traffic_of_today(tmp_path):
    watch, ks = watched(tmp_path, [])
    watch.use_model("1.0.0", REFERENCE)
    for window in range(3):
        first = window * ROWS
        watch.add_features(
            [changed(features(n, event_ms=START_MS + n * STEP_MS, deadline_ms=0), amount=1.0) for n in range(first, first + ROWS)], 1000.0
        )  # fmt: skip
        watch.add_decisions([decisions(n, headers=(HEADER_NOBODY_WAITS,)) for n in range(20)], 1000.0)
        watch.tick(1000.0 + 2 * window)
    assert ks.windows == []


def test_a_new_model_starts_its_confirmation_anew(tmp_path):
    published: list = []
    watch, ks = watched(tmp_path, published)
    watch.use_model("1.0.0", REFERENCE)
    ks.differs = True
    feed(watch, 0, 1000.0, 100)
    watch.use_model("1.1.0", REFERENCE)
    feed(watch, 1, 1002.0, 100)
    assert published[-1][1] is None
    feed(watch, 2, 1004.0, 100)
    assert published[-1][1].dedupe_key.startswith("drift:fraud:1.1.0:")


def test_a_request_that_was_not_acknowledged_is_asked_again(tmp_path):
    published: list = []
    away: list = []

    def publish(*said: object) -> None:
        if away:
            raise TimeoutError("not acknowledged")
        published.append(said)

    watch, ks = watched(tmp_path, published, publish)
    watch.use_model("1.0.0", REFERENCE)
    ks.differs = True
    feed(watch, 0, 1000.0, 100)
    away.append(True)
    with pytest.raises(TimeoutError):
        feed(watch, 1, 1002.0, 100)
    again, ks = watched(tmp_path, published)
    again.use_model("1.0.0", REFERENCE)
    ks.differs = True
    feed(again, 2, 1004.0, 100)
    feed(again, 3, 1006.0, 100)
    assert published[-1][1] is not None


def test_a_field_that_turns_empty_is_told_and_asks_for_no_model(tmp_path):
    """A new model would learn to do without a field that somebody forgot to fill; and what depends on it moves too."""
    published: list = []
    watch, ks = watched(tmp_path, published)
    nulls = Told("null_rate", "null")
    watch = DriftWatch(
        "fraud", [ks, nulls], lambda *said: published.append(said), tmp_path / "requests.json", UNKNOWN,
        DriftPolicy(WindowPolicy(rows=ROWS, min_rows=ROWS, min_span_s=60, pause_s=1, rows_per_s=100_000), retraining=POLICY),
    )  # fmt: skip
    filled = REFERENCE_ROWS.copy()
    filled[:, INDEX["mcc"]] = 5411
    watch.use_model("1.0.0", Reference(filled, REFERENCE.scores, NAMES))
    ks.differs = nulls.differs = True
    for window in range(3):
        first = window * ROWS
        rows = [changed(row(n, 100), mcc=float("nan")) for n in range(first, first + ROWS)]
        watch.add_features(rows, 1000.0 + 2 * window)
        watch.tick(1000.0 + 2 * window)
    told = {(found.detector, found.feature): found.severity for found in published[-1][0]}
    assert told == {("null_rate", "mcc"): "critical", ("ks", "amount"): "critical"}
    assert [request for _, request in published] == [None] * 3


def test_scores_and_decisions_are_tested_where_the_state_is_old_enough(tmp_path):
    published: list = []
    watch, ks = watched(tmp_path, published)
    aged = REFERENCE_ROWS.copy()
    aged[:, INDEX["card_age_days"]] = 30
    declined = np.zeros(400, np.int8)
    watch.use_model("1.0.0", Reference(aged, np.linspace(0, 0.1, 400, dtype=np.float32), NAMES, declined))
    for age, columns in ((1, 1), (30, 2)):
        ks.windows.clear()
        rows = [changed(row(n), card_age_days=age) for n in range(ROWS)]
        watch.add_features(rows, 1000.0 + age)
        watch.add_decisions([scored(n) for n in range(ROWS)], 1000.0 + age)
        watch.tick(1000.0 + age)
        assert len(ks.windows) == columns
    assert set(np.unique(ks.windows[-1])) == {np.float32(0.25)}


def test_what_drifts_says_its_likely_cause(tmp_path):
    """Devices that many cards use, while amounts drift: an attack, with what it does to decisions where the state is old enough."""
    published: list = []
    watch, ks = watched(tmp_path, published)
    aged = REFERENCE_ROWS.copy()
    aged[:, INDEX["card_age_days"]], aged[:, INDEX["device_cards_24h"]] = 30, 1
    watch.use_model("1.0.0", Reference(aged, np.zeros(400, np.float32), NAMES, np.zeros(400, np.int8)))
    ks.differs = True
    for window in range(2):
        first, now_s = window * ROWS, 1000.0 + 2 * window
        crowd = [
            changed(row(n, 1.5), card_age_days=30, device_cards_24h=9 if n % 4 == 0 else 1)
            for n in range(first, first + ROWS)
        ]
        watch.add_features(crowd, now_s)
        watch.add_decisions([scored(n) for n in range(first, first + ROWS)], now_s)
        watch.tick(now_s)
    told = {found.feature: found for found in published[-1][0]}
    assert told["amount"].cause == "attack" and "25.0% (0.0% before)" in told["amount"].why
    assert "0.0% are reviewed or declined (0.0% before)" in told["amount"].why
    # nothing is said of a row that does not drift, and a request carries what is said
    assert (told["*"].cause, told["*"].why) == (None, "")
    assert published[-1][1].evidence[0]["cause"] == "attack"


def scored(number: int) -> Record:
    record = decisions(number)
    said = json.loads(record.value) | {"card_id": f"card-{number}"}
    return replace(record, value=json.dumps(said).encode())


def test_unreadable_and_foreign_records_are_passed_over(tmp_path):
    published: list = []
    watch, _ = watched(tmp_path, published)
    watch.use_model("1.0.0", REFERENCE)
    watch.add_features(
        [
            Record("features", 0, 0, 0, b"\xff"),
            Record("features", 0, 1, 0, None),
            features(1, catalogue="0" * 16),
        ],
        1.0,
    )
    watch.add_decisions([Record("decisions", 0, 0, 0, b"{"), decisions(1)], 1.0)
    feed(watch, 0, 1000.0)
    assert published[-1][0][0].rows == ROWS


def test_a_reference_of_another_catalogue_is_refused(tmp_path):
    watch, _ = watched(tmp_path, [])
    with pytest.raises(ValueError, match="another feature catalogue"):
        watch.use_model("1.0.0", Reference(np.zeros((5, 2), np.float32), np.zeros(5, np.float32), ("a", "b")))


def test_a_memory_that_does_not_parse_is_an_error(tmp_path):
    (tmp_path / "requests.json").write_text("no JSON")
    with pytest.raises(msgspec.MsgspecError):
        watched(tmp_path, [])


def test_rows_of_another_catalogue_count_where_they_have_what_is_tested(tmp_path):
    published: list = []
    blind = layout("b1" * 8, [name for name in NAMES if name != "card_cross_border"])
    layouts = Layouts({made.catalogue: made for made in (BEFORE, blind)}.get)
    watch, ks = watched(tmp_path, published, layouts=layouts)
    watch.use_model("1.0.0", REFERENCE)
    seen = [row(n) for n in range(2 * ROWS)]
    older = [kafka_record_of(BEFORE, record) for record in seen[:ROWS]]
    watch.add_features([*older, *(kafka_record_of(blind, record) for record in seen[ROWS:])], 1000.0)
    watch.tick(1000.0)
    assert published[-1][0][0].rows == ROWS
    (amounts,) = ks.windows
    assert sorted(amounts) == [float(n) for n in range(ROWS)]


def test_a_reference_of_an_older_catalogue_is_laid_out_for_this_one(tmp_path):
    path, _ = publish_before(tmp_path)
    found, attributes = read_reference(path)
    assert not attributes
    before = content_before().reference
    assert found is not None and found.names == NAMES and (found.scores == before.scores).all()
    for name in ("amount", "card_cross_border", NAMES[-2]):
        column = before.matrix[:, BEFORE.names.index(name)]
        np.testing.assert_array_equal(found.matrix[:, INDEX[name]], column)
    assert np.isnan(found.matrix[:, [INDEX[name] for name in NEW]]).all()


def test_a_reference_without_a_known_definition_is_not_used(tmp_path, caplog):
    path, _ = publish_before(tmp_path)
    manifest = json.loads((path / "manifest.json").read_bytes())
    strange = ["0ddba11s"] * len(manifest["feature_names"])
    (path / "manifest.json").write_text(json.dumps(manifest | {"definitions": strange}))
    assert read_reference(path) is None and "another feature catalogue" in caplog.text
    (path / "manifest.json").write_text(json.dumps(manifest | {"definitions": strange[1:]}))
    assert read_reference(path) is None and "cannot be read" in caplog.text
    (path / "manifest.json").unlink()
    assert read_reference(path) is None


OWN = AttributeColumns(
    (
        AttributeColumn("items", "number"), AttributeColumn("tier", "text", encoding={"gold": -1.0, "basic": -2.0}, other=-1.5),
        AttributeColumn("shop", "text", encoding={f"shop-{n}": n / 10 for n in range(40)}),
    )
)  # fmt: skip


def sending(number: int, attributes):
    sample = decode_features(row(number).value)
    transaction = msgspec.structs.replace(sample.transaction, attributes=attributes)
    return replace(
        row(number), value=encode_features(msgspec.structs.replace(sample, transaction=transaction))
    )


def test_attributes_of_ones_own_are_tested_as_the_model_takes_them(tmp_path):
    published = []
    watch, ks = watched(tmp_path, published)
    own = np.tile(np.array([[5.0, -1.0, 0.3]], np.float32), (400, 1))
    reference = Reference(np.hstack([REFERENCE_ROWS, own]), np.zeros(400, np.float32), NAMES + OWN.names)
    watch.use_model("1.0.0", reference, OWN)
    sent = [{"items": n, "tier": "gold" if n % 2 else "new", "shop": f"shop-{n % 40}"} for n in range(ROWS)]
    watch.add_features([sending(n, sent[n] if n else UNSET) for n in range(ROWS)], 1000.0)
    watch.tick(1000.0)
    tested = {tuple(sorted(window)) for window in ks.windows}
    # numbers as they are, many texts as their log-odds; few texts are no numbers
    assert tuple(float(n) for n in range(1, ROWS)) in tested
    assert tuple(sorted(np.float32(n % 40 / 10) for n in range(1, ROWS))) in tested
    assert not any(-1.0 in window for window in tested)
    # a model without attributes goes on with rows that have some
    watch.use_model("1.1.0", REFERENCE)
    watch.add_features([sending(n, sent[n]) for n in range(ROWS)], 2000.0)
    watch.tick(2000.0)
    assert len(published) == 2


def test_bins_of_few_texts_are_their_own():
    reference = Reference(
        np.hstack([REFERENCE_ROWS, np.tile(np.array([[5.0, -1.0, 0.3]], np.float32), (400, 1))]), np.zeros(400, np.float32), NAMES + OWN.names,
    )  # fmt: skip
    baseline = Baseline.of(reference, OWN)
    kinds = {column.name: column.kind for column in baseline.own}
    assert kinds == {"attributes.items": "number", "attributes.tier": "category", "attributes.shop": "number"}
    assert baseline.bins["attributes.tier"].edges.tolist() == [-1.0]
