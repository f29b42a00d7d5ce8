"""Only what was known at the cut-off, only rows old enough to be judged, in order of event time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.catalogue import INDEX, NAMES, WIDTH
from models.training.archived import from_archive, load_seed, save_seed
from models.training.dataset import DAY_MS, Dataset, DatasetError, from_history, in_order, join
from models.training.training import train
from tests.support.bundle_samples import QUICK
from tests.support.catalogue_samples import NEW
from tests.support.models_data import make_dataset

T0 = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
MS = pa.timestamp("ms", tz="UTC")


def history(rows: list[tuple[int, str | None, int | None]]) -> pa.Table:
    """(day, label, day of the label) per row."""
    return pa.table(
        {
            "transaction_id": [f"t{n}" for n in range(len(rows))],
            "card_id": [f"c{n}" for n in range(len(rows))],
            "event_time": pa.array([T0 + day * DAY_MS for day, _, _ in rows], MS),
            "label": pa.array([label for _, label, _ in rows], pa.string()),
            "label_time": pa.array([None if at is None else T0 + at * DAY_MS for _, _, at in rows], MS),
        }
    )


def numbered(table: pa.Table) -> np.ndarray:
    matrix = np.zeros((table.num_rows, WIDTH), np.float32)
    matrix[:, INDEX["amount"]] = np.arange(table.num_rows)
    return matrix


def seen(data: Dataset) -> list[tuple[int, bool]]:
    return list(zip(data.amount_minor().astype(int).tolist(), data.fraud.tolist(), strict=True))


ROWS: list[tuple[int, str | None, int | None]] = [
    (5, "fraud", 9),  # known in time
    (0, None, None),  # never said to be anything: honest, by now
    (6, "fraud", 30),  # will be known, but not yet
    (1, "legit", 2),
    (18, "fraud", 19),  # known, but too young to be compared with its neighbours
]


def test_what_was_known_and_what_had_matured() -> None:
    data = from_history(history(ROWS), numbered, T0 + 20 * DAY_MS, silence="honest")
    assert seen(data) == [(1, False), (3, False), (0, True), (2, False)]
    assert (np.diff(data.event_ms) >= 0).all()


def test_a_row_without_a_label_is_unknown_and_counted() -> None:
    data = from_history(history(ROWS), numbered, T0 + 20 * DAY_MS)
    assert seen(data) == [(3, False), (0, True)]
    counts = {"honest": 1, "fraud": 1, "not_matured": 1, "unknown": 2, "censored": 0}
    assert data.account() == {
        "fingerprint": data.fingerprint(), "from_ms": T0 + DAY_MS, "to_ms": T0 + 5 * DAY_MS, "rows": 2, "frauds": 1,
        "label_delay_days": 7.0, "labels": counts, "label_coverage": 0.5,
    }  # fmt: skip
    # the counts of a part are of that part
    assert data.between(T0, T0 + 2 * DAY_MS).labels.counts() == counts | {
        "fraud": 0,
        "not_matured": 0,
        "unknown": 1,
    }


def test_without_a_cut_off_every_label_counts() -> None:
    assert seen(from_history(history(ROWS), numbered)) == [(3, False), (0, True), (2, True), (4, True)]


def test_too_early_to_say_anything() -> None:
    with pytest.raises(DatasetError, match=r"3 not matured.*may still be reported"):
        from_history(history(ROWS[:3]), numbered, T0 + 3 * DAY_MS)


def test_a_file_that_is_newest_first_is_replayed_oldest_first() -> None:
    newest_first = history([(9, "fraud", 9), (5, "fraud", 5), (5, "legit", 5), (0, "fraud", 0)])
    assert in_order(newest_first)["transaction_id"].to_pylist() == ["t3", "t1", "t2", "t0"]
    arrived = newest_first.append_column("arrival_time", newest_first["event_time"])
    assert in_order(arrived) is arrived


def test_repeated_transactions_are_left_out() -> None:
    def second_is_a_repeat(table: pa.Table) -> np.ndarray:
        matrix = numbered(table)
        matrix[1] = np.nan
        return matrix

    assert len(from_history(history(ROWS), second_is_a_repeat)) == len(ROWS) - 1


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DatasetError, match="features are"):
        from_history(history(ROWS), lambda table: np.zeros((1, WIDTH), np.float32))


def test_the_seed_comes_back_as_of_its_own_cut_off(tmp_path: Path) -> None:
    table = history(ROWS)
    as_of = T0 + 20 * DAY_MS
    assert load_seed(tmp_path) is None
    for silence in ("honest", "unknown"):
        save_seed(table, numbered(table), tmp_path, as_of, silence)
        seed = load_seed(tmp_path)
        expected = from_history(table, numbered, as_of, silence=silence)
        assert seed is not None and seed.account() == expected.account()


def archive(
    folder: Path, rows: list[tuple[str, int]], outcomes: list[tuple[str, str]], said_ms: int = 3 * DAY_MS
) -> None:
    """(transaction, day) per row and (transaction, label) per outcome, said one after another from ``said_ms`` on."""
    for name in ("features", "outcomes"):
        (folder / name / "date=2026-01-01").mkdir(parents=True, exist_ok=True)
    features = {
        "transaction_id": [name for name, _ in rows],
        "card_id": ["c"] * len(rows),
        "event_timestamp": pa.array([T0 + day * DAY_MS for _, day in rows], MS),
        "amount_minor": [1] * len(rows),
        **{name: pa.array(np.full(len(rows), 1.0, np.float32)) for name in NAMES},
    }
    pq.write_table(pa.table(features), folder / "features/date=2026-01-01/a.parquet")
    told = {
        "transaction_id": pa.array([name for name, _ in outcomes], pa.string()),
        "label": pa.array([label for _, label in outcomes], pa.string()),
        "label_time": pa.array([T0 + said_ms + n for n in range(len(outcomes))], MS),
        "decision": pa.array(["approve"] * len(outcomes), pa.string()),
    }
    pq.write_table(pa.table(told), folder / "outcomes/date=2026-01-01/a.parquet")


def test_the_archive_joined_with_its_outcomes(tmp_path: Path) -> None:
    assert from_archive(tmp_path) is None
    rows = [("a", 0), ("b", 1), ("b", 1), ("c", 2), ("young", 12)]
    archive(tmp_path, rows, [("b", "legit"), ("b", "fraud"), ("young", "fraud"), ("elsewhere", "fraud")])
    data = from_archive(tmp_path)
    assert data is not None
    assert data.fraud.tolist() == [False, True, False]
    assert ((data.event_ms - T0) // DAY_MS).tolist() == [0, 1, 2]
    newest = from_archive(tmp_path, newest=1)
    assert newest is not None and ((newest.event_ms - T0) // DAY_MS).tolist() == [2]


def decided(
    folder: Path, decisions: dict[str, str], scores: dict[str, float] | None = None, propensity: dict[str, float] | None = None,
) -> None:  # fmt: skip
    (folder / "decisions/date=2026-01-01").mkdir(parents=True)
    told = {"transaction_id": list(decisions), "decision": list(decisions.values())}
    for name, values in (("score", scores), ("propensity", propensity)):
        told[name] = pa.array([(values or {}).get(key) for key in decisions], pa.float64())
    table = pa.table(told)
    pq.write_table(table, folder / "decisions/date=2026-01-01/a.parquet")


def test_a_declined_payment_is_never_honest_by_silence(tmp_path: Path) -> None:
    rows = [("approved", 0), ("declined", 1), ("told", 2), ("caught", 3), ("reviewed", 4), ("young", 12)]
    archive(tmp_path, rows, [("told", "legit"), ("caught", "fraud")])
    decided(
        tmp_path, dict.fromkeys(("declined", "told", "caught"), "decline") | {"reviewed": "review", "young": "decline"}
    )  # fmt: skip
    data = from_archive(tmp_path)
    assert data is not None
    known = dict(zip(((data.event_ms - T0) // DAY_MS).tolist(), data.fraud.tolist(), strict=True))
    assert known == {0: False, 2: False, 3: True, 4: False}
    assert data.labels.counts() == {"honest": 3, "fraud": 1, "not_matured": 0, "unknown": 0, "censored": 1}


def test_what_a_score_declined_is_learnt_as_what_it_was_taken_for(tmp_path: Path) -> None:
    names = ["approved", "sure", "rule", "unscored", "explored", "young"]
    archive(tmp_path, [(name, 12 if name == "young" else day) for day, name in enumerate(names)], [])
    decided(
        tmp_path, dict.fromkeys(names[1:], "decline"), {"sure": 0.75, "rule": 0.02, "explored": 0.9, "young": 0.9}, {"explored": 0.1},
    )  # fmt: skip
    data = from_archive(tmp_path)
    assert data is not None and data.inferred is not None
    # as facts only what was approved; of what a rule declined the low score says nothing, and for what was drawn others stand
    assert (len(data), data.labels.counts()["censored"]) == (1, 4)
    found = data.inferred
    assert sorted(zip(found.fraud.tolist(), found.weights.tolist(), strict=True)) == [
        (False, 0.25),
        (True, 0.75),
    ]
    assert set(((found.event_ms - T0) // DAY_MS).tolist()) == {1}
    assert data.account()["inferred"] == {"rows": 1, "frauds": 0.8}
    assert data.fingerprint() != replace(data, inferred=None).fingerprint()
    assert join([data, data]).inferred is not None
    assert data.between(T0, T0 + DAY_MS).inferred is None or not len(data.between(T0, T0 + DAY_MS).inferred)  # type: ignore[arg-type]


def test_a_model_learns_what_is_inferred_and_is_not_measured_on_it() -> None:
    """Frauds of a kind that is always declined: without inference a model knows nothing of them."""
    data = make_dataset(6_000)
    kind = data.matrix[:, INDEX["ip_count_1h"]]
    stopped = data.fraud & (np.nan_to_num(kind) > 4)
    chance = np.full(len(data), 0.9, np.float32)
    left_out = data.take(~stopped)
    weight = np.concatenate([chance[stopped], 1 - chance[stopped]])
    both = np.concatenate([np.flatnonzero(stopped)] * 2)
    inferred = replace(
        data.take(both), fraud=np.repeat([True, False], stopped.sum()), weight=weight.astype(np.float32)
    )
    inferred = inferred.take(np.argsort(inferred.event_ms, kind="stable"))
    without, with_them = (
        train(found, QUICK, policy_version="1") for found in (left_out, replace(left_out, inferred=inferred))
    )
    assert with_them.evaluation["rows"] == without.evaluation["rows"]
    assert len(with_them.train) == len(without.train)
    newest = data.take(np.flatnonzero(stopped)[-200:])
    assert with_them.score(newest.matrix).mean() > 1.2 * without.score(newest.matrix).mean()


def test_a_row_whose_label_was_there_before_it_is_left_out(tmp_path: Path) -> None:
    """Its features were served with its own label."""
    archive(tmp_path, [("a", 0), ("b", 1), ("young", 12)], [("a", "fraud"), ("b", "fraud")], 0)
    data = from_archive(tmp_path)
    # labels are said in the first milliseconds of day 0: after none of day 1, and not after the first row either
    assert data is None
    archive(tmp_path, [("a", -1), ("b", 1), ("young", 12)], [("a", "fraud"), ("b", "fraud")], 0)
    data = from_archive(tmp_path)
    assert data is not None and (len(data), data.frauds, data.labels.counts()["unknown"]) == (1, 1, 1)


def test_only_the_window_that_was_asked_for(tmp_path: Path) -> None:
    archive(tmp_path, [("a", 0), ("b", 1), ("c", 2), ("young", 12)], [])
    data = from_archive(tmp_path, since_ms=T0 + DAY_MS, until_ms=T0 + DAY_MS)
    assert data is not None and ((data.event_ms - T0) // DAY_MS).tolist() == [1]
    assert from_archive(tmp_path, since_ms=T0 + 3 * DAY_MS) is None


def test_joining_keeps_the_order_of_time() -> None:
    early, late = (from_history(history(rows), numbered, silence="honest") for rows in (ROWS[:2], ROWS[2:4]))
    assert (np.diff(join([late, early]).event_ms) >= 0).all()
    assert [len(part) for part in join([late, early]).split(0.5, 0.25)] == [2, 1, 1]
    with pytest.raises(DatasetError):
        join([])


def test_days_from_before_an_entry_was_there_have_it_unknown(tmp_path: Path) -> None:
    """Older files lack the column, whichever comes first; the data set still trains."""
    rows = [(f"t{n}", n % 3) for n in range(30)]
    archive(tmp_path, rows, [("t3", "fraud")])
    features = tmp_path / "features/date=2026-01-01"
    whole = pq.read_table(features / "a.parquet")
    older = whole.drop_columns(list(NEW)).slice(0, 20)
    pq.write_table(older, features / "a.parquet")
    pq.write_table(whole.slice(20), features / "b.parquet")
    archive_young(tmp_path)
    data = from_archive(tmp_path)
    assert data is not None and len(data) == 30 and data.frauds == 1
    new, others = [INDEX[name] for name in NEW], [INDEX[name] for name in NAMES if name not in NEW]
    assert np.isnan(data.matrix[:, new]).all(axis=1).sum() == 20
    assert (data.matrix[:, others] == 1).all()


def archive_young(folder: Path) -> None:
    """A row that moves the cut-off on."""
    features = pq.read_table(folder / "features/date=2026-01-01/b.parquet").slice(0, 1)
    moment = pa.array([T0 + 20 * DAY_MS], MS)
    young = features.set_column(features.schema.get_field_index("event_timestamp"), "event_timestamp", moment)
    young = young.set_column(0, "transaction_id", pa.array(["young"]))
    (folder / "features/date=2026-01-21").mkdir()
    pq.write_table(young, folder / "features/date=2026-01-21/a.parquet")


def test_an_entry_that_is_unknown_for_all_older_rows_trains() -> None:
    data = make_dataset()
    new = [INDEX[name] for name in NEW]
    data.matrix[: len(data) // 2, new] = np.nan
    trained = train(data, QUICK, policy_version="1")
    assert trained.evaluation["auc_roc"] > 0.8
    everywhere = make_dataset()
    everywhere.matrix[:, new] = np.nan
    assert train(everywhere, QUICK, policy_version="1").evaluation["auc_roc"] > 0.8


def test_a_seed_of_another_catalogue_gives_the_entries_of_the_same_version(tmp_path: Path) -> None:
    table = history(ROWS)
    path = save_seed(table, numbered(table) + 5, tmp_path, T0 + 20 * DAY_MS, "honest")
    whole = load_seed(tmp_path)
    seed = pq.read_table(path)
    other = [f"{name}_v9" if name in NEW else name for name in seed.column_names]
    pq.write_table(seed.rename_columns(other).replace_schema_metadata(seed.schema.metadata), path)
    found = load_seed(tmp_path)
    assert whole is not None and found is not None
    new = [INDEX[name] for name in NEW]
    expected = whole.matrix.copy()
    expected[:, new] = np.nan
    np.testing.assert_array_equal(found.matrix, expected)
    assert (found.fraud == whole.fraud).all()
    # without amounts nothing tells rows that were left out
    pq.write_table(seed.drop_columns("amount"), path)
    assert load_seed(tmp_path) is None
