"""``tollgate performance`` on an archive: matured decisions only, money by currency, and the same as metrics."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.feast_repo.archived import SCHEMA as FEATURES
from services.cli.main import run
from services.trainer.jobs import JobFailed
from services.trainer.shown_performance import EVERY_S, ShownPerformance, measure_in_process
from streams.archive.decided_rows import decided_rows
from streams.archive.tables import DECISION_SCHEMA, OUTCOME_SCHEMA
from streams.archive.writer import ensure_schema_files, write_parquet
from streams.runtime.metrics import PERFORMANCE, PERFORMANCE_MONEY
from streams.runtime.settings import Settings

NEWEST = datetime(2026, 11, 20, 12, tzinfo=UTC)
#: days before the newest, decision, label that arrived, amount, currency, version
PAST = [
    (20, "decline", "fraud", 1_000, "EUR", "1.0.0"), (20, "review", "legit", 50, "EUR", "1.0.0"), (19, "approve", "fraud", 300, "EUR", "1.0.0"),
    (18, "review", "fraud", 700, "JPY", "1.1.0"), (18, "approve", None, 20, "JPY", "1.1.0"), (17, "decline", None, 900, "EUR", "1.1.0"),
    (9, "approve", "legit", 10, "EUR", "1.1.0"), (2, "decline", "fraud", 5_000, "EUR", "1.1.0"), (0, "approve", None, 5, "EUR", "1.1.0"),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for number, (days, decision, label, amount, currency, version) in enumerate(PAST):
        at, tx = NEWEST - timedelta(days=days, minutes=number), f"tx-{number}"
        row = {"transaction_id": tx, "tenant": "default", "card_id": f"c-{number}", "merchant_id": "m", "amount_minor": amount,
               "currency": currency, "channel_name": "ecom" if number % 2 else None, "event_timestamp": at}  # fmt: skip
        decided = {"transaction_id": tx, "tenant": "default", "score": 0.5, "decision": decision, "model_version": version, "event_timestamp": at}  # fmt: skip
        told = {"transaction_id": tx, "tenant": "default", "label": label, "label_time": at + timedelta(days=1), "event_timestamp": at}  # fmt: skip
        found = [("features", FEATURES, row), ("decisions", DECISION_SCHEMA, decided)]
        if label is not None:
            # an older label that was taken back, and the one that holds
            found += [
                ("outcomes", OUTCOME_SCHEMA, told | {"label": "legit", "label_time": at}),
                ("outcomes", OUTCOME_SCHEMA, told),
            ]
        for place, (topic, schema, values) in enumerate(found):
            path = tmp_path / "archive" / topic / f"date={at.date()}" / f"{topic}-0-{number}-{place}.parquet"
            write_parquet(path, pa.Table.from_pylist([dict.fromkeys(schema.names) | values], schema))
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert run(["performance", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_only_matured_decisions_count_and_currencies_stay_apart(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, "--home", str(home))
    whole = found["performance"][0]
    assert whole["kind"] == "all" and (whole["matured"], whole["open"]) == (7, 2)
    assert whole["labels"] == {"honest": 3, "fraud": 3, "not_matured": 2, "unknown": 0, "censored": 1}
    assert (whole["recall"]["estimate"], whole["precision"]["estimate"]) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )
    assert whole["label_coverage"] == pytest.approx(5 / 7)
    money = {one["currency"]: (one["caught_minor"], one["lost_minor"]) for one in whole["money"]}
    assert money == {"EUR": (1_000, 300), "JPY": (700, 0)}
    by_version = {one["group"]: one for one in found["performance"] if one["kind"] == "model_version"}
    assert (
        by_version["1.0.0"]["recall"]["estimate"] == 0.5 and by_version["1.1.0"]["recall"]["estimate"] == 1.0
    )
    assert {one["group"] for one in found["performance"] if one["kind"] == "channel"} == {"ecom", "(unknown)"}
    assert found["drops"] == []


def test_a_shorter_span_and_the_table_for_people(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "--home", str(home), "--since", "10d")["performance"][0]["matured"] == 1
    assert run(["performance", "--home", str(home)]) == 0
    text = capsys.readouterr().out
    assert "2 decisions are still open" in text and "1.1.0" in text and "JPY" in text
    assert run(["performance", "--home", str(home), "--since", "yesterday"]) == 2
    assert run(["performance", "--home", str(home / "empty")]) == 1


def test_an_archive_that_just_began_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_schema_files(tmp_path / "archive")
    assert decided_rows(tmp_path / "archive", 42 * 86_400_000) is None
    assert run(["performance", "--home", str(tmp_path)]) == 1
    assert "nothing" in capsys.readouterr().err


def test_a_large_archive_is_read_from_its_newest_day(home: Path) -> None:
    past = decided_rows(home / "archive", 42 * 86_400_000, max_rows=3)
    assert (
        past is not None
        and len(past.rows) == 3
        and past.left_out == ["2026-10-31", "2026-11-01", "2026-11-02", "2026-11-03"]
    )


def test_the_same_figures_are_metrics(home: Path) -> None:
    settings = Settings(home=str(home))
    settings.save()
    runs: list[dict[str, Any] | None] = []

    def measure(settings: Settings, stop: threading.Event) -> dict[str, Any] | None:
        runs.append(measure_in_process(settings, stop))
        return runs[-1]

    shown = ShownPerformance(settings, measure)
    shown.look(threading.Event(), 0.0)
    assert PERFORMANCE.labels("all", "all", "recall")._value.get() == pytest.approx(2 / 3)
    assert PERFORMANCE.labels("model_version", "1.0.0", "recall")._value.get() == 0.5
    assert PERFORMANCE_MONEY.labels("EUR", "lost")._value.get() == 300
    # not again within its time, nor without new labels
    shown.look(threading.Event(), 1.0)
    shown.look(threading.Event(), EVERY_S)
    assert len(runs) == 1


def test_a_measurement_that_fails_is_tried_again(home: Path) -> None:
    runs: list[int] = []

    def failing(*_: Any) -> None:
        runs.append(1)
        raise JobFailed("killed")

    shown = ShownPerformance(Settings(home=str(home)), failing)
    for now_s in (0.0, EVERY_S):
        shown.look(threading.Event(), now_s)
    assert len(runs) == 2
