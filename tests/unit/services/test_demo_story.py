"""The story's parts without a stack: phases, plans, waits that end, commands that fail. `make demo STORY=attack` plays it whole."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from loadtest.traffic.scoreboard import Scoreboard
from loadtest.traffic.simulation import Run
from loadtest.traffic.simulator import create_world, history_table
from models.policy.policy import Policy
from models.policy.policy_export import as_toml
from models.policy.policy_file import read_policy_file
from models.rollout.plan import parse_plan
from services.cli.demo import stage as staged
from services.cli.demo import story
from services.cli.demo.command import demo
from services.cli.demo.phases import Counts, Phases
from services.cli.demo.stage import Stage, StoryStuck, Traffic
from services.cli.demo.staging import Steps
from services.trainer.simulated_data import is_marked, marked
from streams.runtime.settings import Settings

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KIND = story.KIND


def decided(board: Scoreboard, prefix: str, kind: str | None, decisions: list[str]) -> None:
    """Payments of a kind are known and decided."""
    names = [f"{prefix}-{number}" for number in range(len(decisions))]
    board.known(pa.table({"transaction_id": names, "fraud_kind": pa.array([kind] * len(names), pa.string())}))
    for name, decision in zip(names, decisions, strict=True):
        said = {"transaction_id": name, "decision": decision, "status": "scored", "model_version": "1.0.0"}
        board.decided(json.dumps(said).encode(), 1.0, now=1.0)


def test_each_phase_has_its_own_shares() -> None:
    board = Scoreboard()
    phases = Phases(board, KIND)
    phases.begin(story.ATTACKED)
    decided(board, "a", KIND, ["approve", "approve", "approve", "review"])
    decided(board, "b", "bust_out", ["decline"])
    decided(board, "c", None, ["approve"] * 9 + ["review"])
    phases.begin(story.AFTER)
    assert phases.now == Counts() and phases.now.share is None
    decided(board, "d", KIND, ["decline", "review", "approve", "decline"])
    assert phases.of(story.ATTACKED) == Counts(5, 2, 4, 1, 10, 1)
    assert phases.of(story.AFTER).attack_share == 0.75 and story.improved(phases)
    assert "fraud stopped 3 of 4 (75%)" in phases.now.told()
    lines = phases.lines()
    assert lines[1].startswith(story.ATTACKED) and lines[1].split()[-7:] == [
        "5",
        "2",
        "40%",
        "4",
        "1",
        "25%",
        "10.00%",
    ]
    assert lines[2].split()[-1] == "-"
    assert board.versions["1.0.0"] == 19


def test_a_new_model_that_stops_no_more_of_the_attack_is_no_good_end() -> None:
    board = Scoreboard()
    phases = Phases(board, KIND)
    phases.begin(story.ATTACKED)
    decided(board, "a", KIND, ["approve", "review"])
    phases.begin(story.AFTER)
    assert not story.improved(phases), "nothing was seen after"
    decided(board, "b", KIND, ["approve", "review"])
    assert not story.improved(phases)


def test_its_plans_and_its_rule_hold() -> None:
    assert [step.kind for step in parse_plan(story.NEW_MODEL_PLAN).steps] == ["shadow", "canary", "canary"]
    assert [guard.metric for guard in parse_plan(story.HASTY_PLAN).guards] == ["decline_rate"]
    text = as_toml(Policy(version="1", review=0.2, decline=0.8, rules=()), "live") + story.HARMFUL_RULE
    read = read_policy_file(text, is_json=False, beside=lambda name: pytest.fail(name))
    assert read.errors == [] and [rule.name for rule in read.file.rules] == ["no-large-payments"]


def test_the_first_model_has_not_seen_the_attack() -> None:
    history = marked(history_table(create_world(3, 300), NOW - timedelta(days=60), NOW))
    kept = story.without(history, KIND)
    kinds = history["fraud_kind"].to_pylist()
    assert KIND in kinds and KIND not in kept["fraud_kind"].to_pylist()
    assert kept.num_rows == history.num_rows - kinds.count(KIND) and is_marked(kept)


class Sending(Traffic):
    """Traffic that lives until it is told to end, and sends nothing."""

    def __init__(self, tmp_path: Any) -> None:
        self.ended = threading.Event()
        super().__init__(Settings(home=str(tmp_path)), Run(rate=10, seconds=100, scale=8_640), Scoreboard())

    def _work(self) -> None:
        self._sent.produced = 25
        self.ended.wait(60)

    def __exit__(self, *of: object) -> None:
        self.ended.set()
        super().__exit__(*of)


def a_stage(traffic: Sending) -> Stage:
    board = Scoreboard()
    return Stage(traffic._settings, traffic, board, Phases(board, KIND), Steps())


def test_a_wait_ends_with_what_it_waits_for_or_says_what_did_not_come(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(staged, "LOOK_S", 0.01)
    monkeypatch.setattr(staged, "SHOW_S", 0.0)
    with Sending(tmp_path) as traffic:
        stage = a_stage(traffic)
        looks = iter([None, None, "here"])
        assert stage.wait(lambda: next(looks), 30, "it") == "here"
        assert "day  0.2" in capsys.readouterr().out
        assert (traffic.sent, traffic.day) == (25, 0.25)
        stage.until_day(0.25, 30)
        with pytest.raises(StoryStuck, match=r"a drift alarm did not come within 0\.05 s"):
            stage.wait(lambda: None, 0.05, "a drift alarm")
        traffic.ended.set()
        traffic._thread.join(30)
        with pytest.raises(StoryStuck, match="the traffic ended early"):
            stage.wait(lambda: None, 30, "anything")


def test_a_command_is_shown_run_and_believed_only_with_its_exit_code(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sending(tmp_path) as traffic:
        stage = a_stage(traffic)
        assert stage.command("models", "list") == []
        with pytest.raises(StoryStuck, match=r"`tollgate models show 9\.9\.9` ended with 2"):
            stage.command("models", "show", "9.9.9")
    printed = capsys.readouterr().out
    assert "$ tollgate models list\n" in printed and "$ tollgate models show 9.9.9\n" in printed


def test_a_story_begins_on_a_stack_of_its_own(tmp_path: Any) -> None:
    (tmp_path / "bundles" / "fraud" / "1.0.0").mkdir(parents=True)
    made = CliRunner().invoke(demo, ["--story", "attack", "--home", str(tmp_path)])
    assert made.exit_code == 2 and "name another folder with --home" in made.output
    made = CliRunner().invoke(demo, ["--story", "attack", "--seconds", "9", "--home", str(tmp_path)])
    assert made.exit_code == 2 and "--seconds" in made.output
