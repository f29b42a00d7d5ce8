"""Drift statistics and policy, and what the watch makes of them; detectors here are fakes with a verdict."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest

from features.catalogue import FEATURES, INDEX, NAMES, WIDTH
from models.bundle.reference import Reference
from models.drift.statistics import (
    RetrainingPolicy,
    RetrainingState,
    Thresholds,
    Window,
    WindowPolicy,
    after_round,
    category_shares,
    due_request,
    numeric_psi,
    pool_rare,
    population_stability_index,
    remember_request,
    round_due,
    same_hours,
    severity,
    significant,
    total_variation,
)
from streams.drift.comparable import COMPARABLE, SCORE
from streams.drift.detectors import Finding
from streams.drift.live_reference import read_reference
from streams.drift.watch import DriftPolicy, DriftWatch, Sampler
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

LIMITS = Thresholds()
POLICY = RetrainingPolicy(confirm_rounds=2, cooldown_s=100.0)


def test_psi_is_the_textbook_sum():
    expected, actual = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    naive = sum((a - e) * math.log(a / e) for e, a in zip(expected, actual, strict=True))
    assert population_stability_index(expected, actual) == pytest.approx(naive)
    assert population_stability_index(expected, expected) == 0.0
    assert math.isfinite(population_stability_index(np.array([1.0, 0.0]), np.array([0.0, 1.0])))


def test_numeric_psi_grows_with_the_shift():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=5000).astype(np.float32)
    shifts = [
        numeric_psi(reference, rng.normal(shift, size=2000).astype(np.float32)) for shift in (0, 0.3, 1.0)
    ]
    assert shifts[0] < 0.03 < shifts[1] < 0.2 < shifts[2]
    # a column of one value has no inner bins that say anything, and no division by nothing
    assert numeric_psi(np.ones(10, np.float32), np.ones(10, np.float32)) == 0.0


def test_categories_that_one_side_lacks_count():
    before, now = np.array([0, 0, 1, 1], np.float32), np.array([0, 0, 2, 2], np.float32)
    expected, actual = category_shares(before, now)
    assert expected.tolist() == [0.5, 0.5, 0.0] and actual.tolist() == [0.5, 0.0, 0.5]
    assert total_variation(expected, actual) == 0.5


def test_rare_categories_are_pooled_only_when_rare_on_both_sides():
    before = np.array([1] * 997 + [2, 3, 4], np.float32)
    now = np.array([1] * 900 + [4] * 100, np.float32)
    old, new = pool_rare(before, now)
    assert set(old) == {1.0, 4.0, -1.0} and set(new) == {1.0, 4.0}


def test_false_discovery_rate_by_hand():
    # Benjamini and Hochberg with q = 0.05 and m = 4: thresholds 0.0125, 0.025, 0.0375, 0.05
    assert significant([0.9, 0.01, 0.03, 0.02], 0.05).tolist() == [False, True, True, True]
    assert significant([0.9, 0.013, 0.026, 0.04], 0.05).tolist() == [False, False, False, False]
    assert significant([], 0.05).tolist() == []


@pytest.mark.parametrize(
    ("flag", "distance", "psi", "word"),
    [
        (False, 0.9, 9.0, "none"), (True, 0.05, 0.05, "none"), (True, 0.12, None, "warning"), (True, 0.0, 0.1, "warning"),
        (True, 0.15, 0.0, "critical"), (True, 0.0, 0.2, "critical"),
    ],
)  # fmt: skip
def test_a_severity_needs_significance_and_size(flag, distance, psi, word):
    assert severity(flag, distance, psi, LIMITS) == word


def test_the_reference_is_taken_at_the_windows_hours():
    rng = np.random.default_rng(0)
    hours = np.repeat(np.arange(24), 100).astype(np.float32)
    rows = same_hours(hours, np.full(50, 4, np.float32), 80, rng)
    assert set(hours[rows]) == {4.0} and len(set(rows)) == 80
    rows = same_hours(hours, np.full(50, 0, np.float32), 250, rng)
    assert set(hours[rows]) == {23.0, 0.0, 1.0}
    # too few of these hours: everything
    assert len(same_hours(np.full(100, 15, np.float32), np.full(50, 4, np.float32), 80, rng)) == 100
    assert len(same_hours(hours, np.full(5, np.nan, np.float32), 80, rng)) == len(hours)


def test_a_round_is_due_by_rows_or_time_and_never_too_soon():
    policy = WindowPolicy(rows=2000, min_rows=500, step_rows=1000, step_s=30, pause_s=5)
    assert not round_due(policy, 499, 499, 1e9)
    assert not round_due(policy, 2000, 5000, 4.9)
    assert round_due(policy, 2000, 1000, 5)
    assert not round_due(policy, 600, 600, 29)
    assert round_due(policy, 600, 600, 30)
    assert not round_due(policy, 600, 0, 1e9)


def test_a_request_needs_two_rounds_in_a_row_and_comes_once_per_cooldown():
    state = after_round(RetrainingState(), ["ks:amount"])
    assert due_request(state, POLICY, "fraud", "1", 0.0) is None
    interrupted = after_round(after_round(state, []), ["ks:amount"])
    assert due_request(interrupted, POLICY, "fraud", "1", 0.0) is None
    state = after_round(state, ["ks:amount", "chi2:channel"])
    due = due_request(state, POLICY, "fraud", "1", 1000.0)
    assert due is not None and due[1] == ["ks:amount"]
    state = remember_request(state, POLICY, due[0], 1000.0)
    state = after_round(state, ["ks:amount", "chi2:channel"])
    assert due_request(state, POLICY, "fraud", "1", 1099.0) is None
    later = due_request(state, POLICY, "fraud", "1", 1100.0)
    assert later is not None and later[1] == ["chi2:channel", "ks:amount"]
    # the same set again, with the same key: its answer may have been a failure
    same = after_round(after_round(RetrainingState(asked=state.asked), ["ks:amount"]), ["ks:amount"])
    assert due_request(same, POLICY, "fraud", "1", 1100.0) == due


def test_the_memory_of_requests_is_bounded():
    state = RetrainingState()
    for number in range(500):
        state = remember_request(state, POLICY, f"drift:fraud:{number}:x", float(number))
    assert len(state.asked) == POLICY.remembered_keys and "drift:fraud:499:x" in state.asked


def test_the_window_keeps_the_newest_rows():
    window = Window(5, 2)
    for first in range(0, 12, 4):
        numbers = np.arange(first, first + 4)
        window.add(np.column_stack([numbers, numbers]).astype(np.float32), numbers)
    assert window.new_rows == 12
    matrix, event_ms, _ = window.snapshot()
    assert sorted(event_ms) == [7, 8, 9, 10, 11] and sorted(matrix[:, 0]) == [7, 8, 9, 10, 11]
    assert window.new_rows == 0
    numbers = np.arange(100, 120)
    window.add(np.column_stack([numbers, numbers]).astype(np.float32), numbers)
    assert sorted(window.snapshot()[1]) == [115, 116, 117, 118, 119]


def test_the_sample_is_bounded_and_spread():
    sampler = Sampler(rows_per_s=10, burst_s=1)
    assert sampler.take(list(range(100)), 100.0) == list(range(0, 100, 10))
    assert len(sampler.take(list(range(100)), 100.0)) == 1
    taken = sum(len(sampler.take(list(range(1000)), 100.0 + step / 10)) for step in range(1, 101))
    assert taken <= 210
    assert sampler.take([], 500.0) == []


def test_every_comparable_column_exists_and_says_why():
    assert all(column.name in INDEX or column.name == SCORE for column in COMPARABLE)
    assert all(column.why for column in COMPARABLE)
    alone = [c for c in COMPARABLE if c.name != SCORE and FEATURES[INDEX[c.name]].source == "transaction"]
    assert alone == [c for c in COMPARABLE if c.since == "always"]


class Told:
    """A detector with a given verdict."""

    name = "ks"

    def __init__(self) -> None:
        self.distance = 0.0
        self.windows: list = []

    def test(self, reference, window):
        assert len(window["amount"]) <= 2000
        self.windows.append(window)
        p = 1e-9 if self.distance else 0.9
        return [
            Finding("ks", "amount", self.distance, p, self.distance, 0.0),
            Finding("classifier", "*", 0.0, 0.9, 0.0, None),
        ]


def watched(tmp_path, published, publish=None, layouts=UNKNOWN):
    policy = DriftPolicy(
        WindowPolicy(rows=40, min_rows=20, step_rows=20, step_s=30, pause_s=1, rows_per_s=1000),
        LIMITS,
        POLICY,
    )
    detector = Told()
    watch = DriftWatch(
        "fraud",
        [detector],
        publish or (lambda *said: published.append(said)),
        tmp_path / "requests.json",
        layouts,
        policy,
    )
    return watch, detector


def feed(watch, first: int, now_s: float) -> None:
    watch.add_features([features(n) for n in range(first, first + 20)], now_s)
    watch.tick(now_s)


REFERENCE = Reference(np.zeros((50, WIDTH), np.float32), np.zeros(50, np.float32), NAMES)


def test_the_watch_reports_confirms_and_asks_once(tmp_path):
    published: list = []
    watch, detector = watched(tmp_path, published)
    feed(watch, 0, 1000.0)
    assert published == []  # nothing is live: nothing to compare with
    watch.use_model("1.0.0", REFERENCE)
    feed(watch, 20, 1002.0)
    assert [row.feature for row in published[-1][0]] == ["*"] and published[-1][1] is None
    detector.distance = 0.4
    feed(watch, 40, 1004.0)
    assert {row.feature: row.severity for row in published[-1][0]} == {"amount": "critical", "*": "none"}
    assert published[-1][1] is None
    feed(watch, 60, 1006.0)
    request = published[-1][1]
    assert request.reason == "drift" and request.model == "fraud" and request.cooldown_s == 100.0
    (evidence,) = request.evidence
    assert evidence["feature"] == "amount" and evidence["statistic"] == 0.4 and evidence["rows"] == 40
    assert request.data_to.timestamp() * 1000 == START_MS + 79 and request.data_from < request.data_to
    feed(watch, 80, 1008.0)
    assert published[-1][1] is None
    # a restart forgets the window, not the request
    again, detector = watched(tmp_path, published)
    again.use_model("1.0.0", REFERENCE)
    detector.distance = 0.4
    for step in range(4):
        feed(again, 100 + 20 * step, 1010.0 + 2 * step)
    assert all(request is None for _, request in published[5:])
    detector.distance = 0.0
    feed(again, 200, 1020.0)
    assert {row.feature: row.severity for row in published[-1][0]} == {"amount": "none", "*": "none"}
    feed(again, 220, 1022.0)
    assert [row.feature for row in published[-1][0]] == ["*"]


def test_a_replay_is_no_traffic_of_today(tmp_path):
    watch, detector = watched(tmp_path, [])
    watch.use_model("1.0.0", REFERENCE)
    for step in range(5):
        watch.add_features([features(n + 20 * step, deadline_ms=0) for n in range(20)], 1000.0 + 2 * step)
        watch.add_decisions([decisions(n, headers=(HEADER_NOBODY_WAITS,)) for n in range(20)], 1000.0)
        watch.tick(1000.0 + 2 * step)
    assert detector.windows == []
    watch.add_decisions([decisions(1)], 1020.0)
    # a chunk may hold both: of its rows only those count for which somebody waits
    both = [features(n, deadline_ms=100 if n % 2 else 0) for n in range(400, 440)]
    watch.add_features(both, 1020.0)
    watch.tick(1020.0)
    (window,) = detector.windows
    assert len(window["amount"]) == 20


def test_a_new_model_starts_its_confirmation_anew(tmp_path):
    published: list = []
    watch, detector = watched(tmp_path, published)
    watch.use_model("1.0.0", REFERENCE)
    detector.distance = 0.4
    feed(watch, 0, 1000.0)
    watch.use_model("1.1.0", REFERENCE)
    feed(watch, 20, 1002.0)
    assert published[-1][1] is None
    feed(watch, 40, 1004.0)
    assert published[-1][1].dedupe_key.startswith("drift:fraud:1.1.0:")


def test_a_request_that_was_not_acknowledged_is_asked_again(tmp_path):
    published: list = []
    away: list = []

    def publish(*said: object) -> None:
        if away:
            raise TimeoutError("not acknowledged")
        published.append(said)

    watch, detector = watched(tmp_path, published, publish)
    watch.use_model("1.0.0", REFERENCE)
    detector.distance = 0.4
    feed(watch, 0, 1000.0)

    away.append(True)
    with pytest.raises(TimeoutError):
        feed(watch, 20, 1002.0)
    again, detector = watched(tmp_path, published)
    again.use_model("1.0.0", REFERENCE)
    detector.distance = 0.4
    feed(again, 40, 1004.0)
    feed(again, 60, 1006.0)
    assert published[-1][1] is not None


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
    assert published[-1][0][0].rows == 20


def test_a_reference_of_another_catalogue_is_refused(tmp_path):
    watch, _ = watched(tmp_path, [])
    watch.use_model("1.0.0", Reference(np.zeros((5, 2), np.float32), np.zeros(5, np.float32), ("a", "b")))
    with pytest.raises(ValueError, match="another feature catalogue"):
        feed(watch, 0, 1000.0)


def test_a_memory_that_does_not_parse_is_an_error(tmp_path):
    (tmp_path / "requests.json").write_text("no JSON")
    with pytest.raises(msgspec.MsgspecError):
        watched(tmp_path, [])


def test_rows_of_another_catalogue_count_where_they_have_what_is_tested(tmp_path):
    published: list = []
    blind = layout("b1" * 8, [name for name in NAMES if name != "card_cross_border"])
    layouts = Layouts({made.catalogue: made for made in (BEFORE, blind)}.get)
    watch, detector = watched(tmp_path, published, layouts=layouts)
    watch.use_model("1.0.0", REFERENCE)
    older = [kafka_record_of(BEFORE, features(n)) for n in range(20)]
    watch.add_features([*older, *(kafka_record_of(blind, features(n)) for n in range(20, 40))], 1000.0)
    watch.tick(1000.0)
    (window,) = detector.windows
    assert window["amount"].tolist() == [float(n) for n in range(20)]
    place = NAMES.index("card_cross_border")
    assert window["card_cross_border"].tolist() == [float(place + n) for n in range(20)]


def test_a_reference_of_an_older_catalogue_is_laid_out_for_this_one(tmp_path):
    path, _ = publish_before(tmp_path)
    found = read_reference(path)
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
