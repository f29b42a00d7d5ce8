"""The model commands as a person types them: exit codes, JSON, and no stack needed for work on files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from features.catalogue import CATALOGUE_HASH
from features.replay import replay
from features.store.profiles.batch import Gather, HasEntities
from loadtest.traffic.simulator.generate import history_table
from loadtest.traffic.simulator.world import create_world
from models.scoring.history import score_rows
from services.cli import main
from services.cli.main import run
from services.cli.models import score_file
from services.cli.models.live_state import LiveState
from tests.support.bundle_samples import publish_sample
from tests.support.catalogue_samples import BEFORE, NEW, layout, publish_before

END = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "history.parquet"
    pq.write_table(history_table(create_world(5, cards=700), END - timedelta(days=40), END), path)
    return path


@pytest.fixture(scope="module")
def home(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    assert run(["train", "--home", str(home), "--history", str(history), "--by", "ada"]) == 0
    return home


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert run([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_list_and_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "models", "list", "--home", str(home))
    assert [(row["version"], row["state"], row["by"]) for row in rows] == [("1.0.0", "approved", "ada")]
    shown = answer(capsys, "models", "show", "--home", str(home))
    assert shown["signature"] == "verified" and shown["evaluation"]["auc_roc"] > 0.8
    assert shown["lineage"]["data"]["source"] == "history"
    assert run(["models", "list", "--home", str(home)]) == 0
    assert "1.0.0" in capsys.readouterr().out


def test_a_second_model_awaits_approval_and_can_be_compared(
    home: Path, history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = answer(capsys, "train", "--home", str(home))
    assert (second["version"], second["state"]) == ("1.1.0", "awaiting approval")
    both = answer(capsys, "models", "compare", "--home", str(home))
    assert both["versions"] == {"candidate": "1.1.0", "live": "1.0.0"}
    assert both["candidate"]["rows"] == both["live"]["rows"] > 0
    assert both["gates"]["verdict"] == "pass" and both["gates"]["whole_policy"]
    assert (
        both["candidate"]["fraud_caught_minor"].keys() == both["live"]["fraud_caught_minor"].keys() >= {"EUR"}
    )
    assert run(["models", "compare", "--home", str(home)]) == 0
    text = capsys.readouterr().out
    assert "rows unseen by both" in text and "gates: pass" in text and "fraud caught, EUR" in text
    assert run(["models", "compare", "1.0.0", "--home", str(home)]) == 2
    capsys.readouterr()
    moved = answer(capsys, "models", "thresholds", "1.1.0", "1.0.0", "--home", str(home))
    assert list(moved["versions"]) == ["1.1.0", "1.0.0"]
    assert moved["rows"] == both["candidate"]["rows"]
    for found in moved["versions"].values():
        assert found["stopped_per_day"] == sorted(found["stopped_per_day"], reverse=True)
        assert (found["recall"][0], found["missed_minor"]["EUR"][0]) == (
            pytest.approx(1, abs=0.2),
            pytest.approx(0, abs=1e5),
        )
    assert run(["models", "thresholds", "--home", str(home)]) == 0
    assert "stopped a day" in capsys.readouterr().out


def test_a_waiting_model_has_evidence_as_page_and_json(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "1.1.0" not in [row["version"] for row in answer(capsys, "models", "list", "--home", str(home))]:
        answer(capsys, "train", "--home", str(home))
    page = tmp_path / "evidence.html"
    found = answer(capsys, "models", "evidence", "1.1.0", "--home", str(home), "--out", str(page))
    assert found["approvable"] and found["refused_for"] is None and found["page"] == str(page)
    assert found["hash"] in page.read_text() and found["pack"]["judgement"]["verdict"] == "pass"
    renewed = answer(capsys, "models", "evidence", "--home", str(home), "--renew")
    assert renewed["approvable"] and renewed["hash"] != found["hash"]
    assert run(["models", "evidence", "1.1.0", "--home", str(home), "--out", str(tmp_path / "x.pdf")]) == 2
    stored = home / "bundles/fraud/1.1.0.evidence.html"
    stored.write_text(stored.read_text().replace("1.1.0", "1.2.0"))
    assert run(["models", "evidence", "1.1.0", "--home", str(home)]) == 1
    assert "it was changed" in capsys.readouterr().err
    assert run(["models", "evidence", "1.1.0", "--home", str(home), "--renew"]) == 0


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_scoring_a_file(
    home: Path, history: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"scored.{suffix}"
    summary = answer(
        capsys, "score", str(history), "--home", str(home), "--out", str(out), "--version", "1.0.0"
    )
    table = pq.read_table(out) if suffix == "parquet" else pyarrow.csv.read_csv(out)
    assert summary["rows"] == table.num_rows == pq.read_metadata(history).num_rows
    assert sum(summary["decisions"].values()) == summary["rows"] and summary["decisions"]["review"] > 0
    assert set(table["model_version"].to_pylist()) == {"1.0.0"}


def test_scoring_that_is_stopped_goes_on_and_gives_the_same(
    home: Path,
    history: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = pq.read_metadata(history).num_rows
    monkeypatch.setattr(score_file, "PART_ROWS", rows // 4)
    arguments = ["score", str(history), "--home", str(home), "--version", "1.0.0", "--out"]
    whole = answer(capsys, *arguments, str(tmp_path / "whole.parquet"))
    assert (whole["resumed_rows"], whole["state"]) == (0, "from the history in the file")
    out = tmp_path / "scored.parquet"
    scored: list[Any] = []

    def stopped(*given: Any) -> pa.Table:
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(given)
        return score_rows(*given)

    monkeypatch.setattr(score_file, "score_rows", stopped)
    assert run([*arguments, str(out)]) == main.INTERRUPTED and not out.exists()
    assert "goes on from here" in capsys.readouterr().err
    monkeypatch.setattr(score_file, "score_rows", score_rows)
    assert run([*arguments, str(out)]) == 0
    said = capsys.readouterr()
    assert f"{2 * (rows // 4):,} of them from an earlier run" in said.out and "(100%)" in said.err
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_by_the_live_store_each_row_is_the_next_payment(history: Path) -> None:
    """Oracle: a replay of each row alone, which is what an empty store knows."""

    class Empty:
        def read(self, wanted: Sequence[HasEntities]) -> Gather:
            return Gather(wanted)

    rows = pq.read_table(history).slice(0, 60)
    live = LiveState(rows, Empty())
    found = np.concatenate([live.until(25), live.until(60)])
    alone = np.concatenate(
        [replay(rows.slice(row, 1).drop_columns(["label", "label_time"])) for row in range(60)]
    )
    assert np.array_equal(found, alone, equal_nan=True)


def test_without_its_store_the_live_state_cannot_be_had(
    home: Path, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", str(history), "--home", str(home), "--version", "1.0.0", "--state", "live"]
    assert run([*arguments, "--out", str(tmp_path / "scored.csv")]) == 3
    assert "tollgate status" in capsys.readouterr().err


def test_parts_of_other_work_are_not_taken(tmp_path: Path) -> None:
    work = score_file.Work(
        file="f",
        bytes=1,
        modified_ns=1,
        mapping="",
        rows=1,
        model_version="1",
        policy_version="1",
        catalogue="c",
        state="history",
    )
    out = tmp_path / "scored.parquet"
    score_file.Parts(out, work).write(0, pa.table({"decision": ["review"]}))
    assert score_file.Parts(out, work).path(0).exists()
    assert not score_file.Parts(out, msgspec.structs.replace(work, modified_ns=2)).path(0).exists()


def test_evaluate_by_dates(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(
        capsys, "evaluate", str(history), "--train", "2026-10-01:2026-10-14", "--delay-days", "7",
        "--test", "2026-10-22:2026-10-28",
    )  # fmt: skip
    assert set(found) >= {"auc_roc", "average_precision", "card_precision_at_100", "fit_s", "rows"}
    assert found["auc_roc"] > 0.7 and found["rows"]["train"] > 0 and found["rows"]["test"] > 0


def test_with_no_delay_a_row_still_does_not_know_its_own_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels drawn by lot: whoever predicts them has seen them. The file is newest first, and says each label at once."""
    rng = np.random.default_rng(1)
    table = history_table(create_world(5, cards=600), END - timedelta(days=20), END)
    fraud = rng.random(table.num_rows) < 0.02
    # one row in four has no label: it is neither trained nor tested on
    labels = pa.array(np.where(fraud, "fraud", "legit"), mask=rng.random(table.num_rows) < 0.25)
    for name, column in (("label", labels), ("label_time", table["event_time"])):
        table = table.set_column(table.column_names.index(name), name, column)
    path = tmp_path / "lots.parquet"
    pq.write_table(table.take(np.arange(table.num_rows)[::-1].copy()), path)
    found = answer(
        capsys, "evaluate", str(path), "--train", "2026-10-13:2026-10-22", "--delay-days", "0",
        "--test", "2026-10-23:2026-10-31", "--home", str(tmp_path),
    )  # fmt: skip
    assert 0.4 < found["auc_roc"] < 0.6
    rows = found["rows"]
    assert rows["history"] == table.num_rows
    for part in ("train", "test"):
        assert rows[f"{part}_frauds"] > 20 and rows[f"{part}_unlabelled"] > 0.2 * rows[part]


def test_a_file_that_names_only_frauds_must_say_so(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(history)
    only_frauds = pc.if_else(pc.equal(table["label"], "fraud"), table["label"], None)
    path = tmp_path / "frauds.parquet"
    pq.write_table(table.set_column(table.column_names.index("label"), "label", only_frauds), path)
    typed = ["train", "--home", str(tmp_path / "home"), "--history", str(path)]
    assert run(typed) == 2
    assert "honest rows" in capsys.readouterr().err
    assert run([*typed, "--unlabelled", "honest"]) == 0
    capsys.readouterr()
    counts = answer(capsys, "models", "show", "--home", str(tmp_path / "home"))["lineage"]["data"]["labels"]
    assert counts["honest"] > 100 * counts["fraud"] > 0 and counts["not_matured"] > 0 == counts["unknown"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["evaluate", "FILE", "--train", "x:y", "--test", "2026-10-22:2026-10-28"], 2, "FROM:TO"),
        (["evaluate", "FILE", "--train", "2030-01-01:2030-01-02", "--test", "2030-02-01:2030-02-02"], 2, "check the dates"),
        (["evaluate", "FILE", "--mapping", "nowhere.toml", "--train", "2026-10-01:2026-10-02", "--test", "2026-10-22:2026-10-28"], 2, "nowhere"),
        (["models", "show", "9.9.9"], 2, "no version 9.9.9 of fraud"),
        (["score", "FILE", "--out", "x.xlsx"], 2, ".parquet or .csv"),
        (["models", "approve", "1.0.0"], 3, "no stack"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_so(
    args: list[str], code: int, words: str, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [str(history) if arg == "FILE" else arg for arg in args]
    assert run([*typed, "--home", str(tmp_path)]) == code
    assert words in capsys.readouterr().err


def test_train_from_nothing_simulates_a_history_for_a_first_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path)]
    assert run(["train", *home, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["version"], first["state"]) == ("1.0.0", "approved")
    # with a model there, another one needs labels of this stack; the first one's data set is there to learn from
    assert run(["models", "list", *home, "--json"]) == 0
    assert [row["version"] for row in json.loads(capsys.readouterr().out)] == ["1.0.0"]


def test_show_says_which_entries_an_older_bundle_does_not_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_before(tmp_path, "1.0.0")
    publish_sample(tmp_path, "1.1.0")
    older = answer(capsys, "models", "show", "1.0.0", "--home", str(tmp_path))["catalogue"]
    assert older == {
        "trained_on": BEFORE.catalogue,
        "running": CATALOGUE_HASH,
        "same": False,
        "does_not_use": list(NEW),
    }
    same = answer(capsys, "models", "show", "1.1.0", "--home", str(tmp_path))["catalogue"]
    assert (same["same"], same["does_not_use"]) == (True, [])


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_before(tmp_path, layout=layout("ca" * 8, BEFORE.names, changed=["card_sum_7d"]))
    assert run(["models", "show", "1.0.0", "--home", str(tmp_path)]) == 1
    assert "another definition of card_sum_7d" in capsys.readouterr().err
