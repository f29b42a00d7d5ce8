"""A model that was trained before the newest rules: `compare` says what it would switch off, `rebase` publishes it with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features.catalogue import NAMES
from features.feast_repo.archived import SCHEMA as FEATURES
from models.bundle.content import bundle_path, load_bundle
from models.bundle.registry import VersionState, read_state, write_state
from models.policy.comparison import Comparison
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy, Rule
from models.training.archived import save_seed
from models.training.dataset import DAY_MS
from models.training.label_states import MATURITY_MS
from services.cli.main import run
from services.trainer.learning import seed_dir
from streams.archive.tables import DECISION_SCHEMA
from streams.archive.writer import write_parquet
from streams.runtime.settings import Settings
from tests.support.bundle_samples import CREATED, publish_sample
from tests.support.models_data import START_MS, make_dataset
from tests.support.policy_samples import publish_with

NEWEST = datetime(2026, 11, 20, 12, tzinfo=UTC)
STOLEN = PolicyList(
    name="stolen", kind="block", field="card_id", owner="ann", expires=datetime(2100, 1, 1, tzinfo=UTC), entries=(Entry("c-1"),)
)  # fmt: skip
LIVE = Policy(
    version="7",
    review=0.5,
    decline=0.9,
    lists=(STOLEN,),
    rules=(Rule("abroad", "country = 'NG'", "review", "ann"),),
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """1.0.1 is live with a list and a rule; 1.1.0, which has neither, waits."""
    publish_with(tmp_path, LIVE, "1.0.1")
    publish_sample(tmp_path, "1.1.0")
    write_state(
        tmp_path / "bundles",
        "fraud",
        "1.1.0",
        VersionState(state="awaiting approval", since=CREATED, by="trainer"),
    )
    return tmp_path


def archive(home: Path) -> None:
    """Three approved payments: one of a stolen card, one from abroad, one of neither."""
    for number, (card, country) in enumerate([("c-1", "FR"), ("c-2", "NG"), ("c-3", "FR")]):
        at, tx = NEWEST - timedelta(hours=number), f"tx-{number}"
        row = {"transaction_id": tx, "card_id": card, "merchant_id": "m", "tenant": "default", "amount_minor": 100,
               "currency": "EUR", "country": country, "event_timestamp": at, **dict.fromkeys(NAMES, 1.0)}  # fmt: skip
        decided = {"transaction_id": tx, "score": 0.01, "decision": "approve", "event_timestamp": at}
        for topic, schema, values in (("features", FEATURES, row), ("decisions", DECISION_SCHEMA, decided)):
            path = home / "archive" / topic / f"date={at.date()}" / f"{topic}-0-{number}-{number}.parquet"
            write_parquet(path, pa.Table.from_pylist([dict.fromkeys(schema.names) | values], schema))


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert run([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_compare_names_what_would_be_switched_off(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(3_000)
    times = pa.array(data.event_ms, pa.timestamp("ms", tz="UTC"))
    table = pa.table({
        "card_id": pa.array(data.card, pa.string()), "event_time": times, "label_time": times,
        "label": pa.array(np.where(data.fraud, "fraud", "legit")),
    })  # fmt: skip
    save_seed(
        table, data.matrix, seed_dir(Settings(home=str(home))), START_MS + 20 * DAY_MS + MATURITY_MS, "honest"
    )
    found = answer(capsys, "models", "compare", "1.1.0", "--home", str(home))
    lost = ["rule abroad of ann (missing)", "block list stolen of ann (missing, 1 entries lost)"]
    assert found["switched_off"] == lost
    assert run(["models", "compare", "1.1.0", "--home", str(home)]) == 0
    told = capsys.readouterr().out
    assert all(part in told for part in lost) and "tollgate models rebase 1.1.0" in told


def test_rebase_publishes_the_model_with_the_live_policy_after_a_test_on_the_past(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive(home)
    made = answer(capsys, "models", "rebase", "--home", str(home), "--by", "ann", "--why", "keep the lists")
    assert (made["version"], made["model_of"], made["policy_of"]) == ("1.1.1", "1.1.0", "1.0.1")
    assert made["tested"]["rows"] == 3 and made["tested"]["rules"]["stolen"]["matched"] == 1
    trusted = home / "keys" / "trusted"
    rebased, model, live = (
        load_bundle(bundle_path(home / "bundles", "fraud", version), trusted)
        for version in ("1.1.1", "1.1.0", "1.0.1")
    )
    assert rebased.model_ubj == model.model_ubj and rebased.policy.version == made["policy_version"] == "8"
    assert rebased.policy.lists == live.policy.lists and LIVE.rules[0] in rebased.policy.rules
    # thresholds that no person set are the model's own
    assert (rebased.policy.review, rebased.policy.decline) == (model.policy.review, model.policy.decline)
    account = rebased.lineage["policy"]
    assert (account["policy_before"], account["by"], account["tested"]["rows"]) == ("7", "ann", 3)
    state = read_state(home / "bundles", "fraud", "1.1.1")
    assert state is not None and (state.state, state.by) == ("awaiting approval", "ann")
    assert run(["models", "rebase", "1.0.1", "--home", str(home)]) == 2


def test_without_an_archive_it_says_that_nothing_was_tested(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "rebase", "1.1.0", "--home", str(home)]) == 0
    assert "nothing is archived yet to test it on" in capsys.readouterr().out


def test_a_rule_that_fails_on_the_past_is_not_signed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(home)
    report = Comparison.report
    monkeypatch.setattr(
        Comparison, "report", lambda self: report(self) | {"errors": {"abroad": "ZeroDivisionError: by zero"}}
    )
    assert run(["models", "rebase", "1.1.0", "--home", str(home)]) == 1
    assert "abroad: ZeroDivisionError" in capsys.readouterr().err
    assert not bundle_path(home / "bundles", "fraud", "1.1.1").exists()
