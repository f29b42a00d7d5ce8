"""``tollgate demo --story attack``: an attack that the first model does not know, and what the system and its people do about it.

Normal traffic, attack, drift with its cause, retraining, gates, approval by a second person, shadow, canary, every card; then a
harmful version that undoes itself. Everything is done by the stack's processes and by the commands that people have; what is printed
after `$` is such a command. Only time is simulated: a day takes some seconds, so that labels come while one watches.
"""

from __future__ import annotations

import math
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features.transaction import epoch_ms, from_ms
from infra import stack
from loadtest.traffic.scoreboard import Scoreboard, Watcher
from loadtest.traffic.simulation import Run, Switch, natural_scale
from loadtest.traffic.simulator import create_world
from loadtest.traffic.summary import complete, lines
from models.bundle.content import MODEL
from models.rollout.run import UNDER_WAY
from models.training.gates.judge import Judgement
from services.cli.demo.phases import Phases
from services.cli.demo.stage import Stage, StoryStuck, Traffic
from services.cli.demo.staging import START_WAIT_S, Steps, drain, stack_settings, stopped_after, warm_up
from services.cli.models.compare import gate_lines
from services.cli.models.first_model import SEED, has_model, simulated_history, start_with_model
from services.cli.stack import addresses
from services.rollout.confirmation import confirm
from streams.contracts.rollout import RolloutRecord
from streams.log.rollouts.kept import kept_rollout
from streams.runtime.settings import Settings

#: few cards, so that a day passes quickly at a rate that a small machine keeps beside a training
CARDS = 1_000
WARM_DAYS = 21
#: the kind that the first model has never seen, and its share of all payments in parts of 5 %
KIND, STRENGTH = "card_testing", 1.5
#: simulated days from the start of live traffic. A label has matured after 7 days, so that on day 23 ten days of the attack are known
ATTACK_DAY, RETRAIN_DAY = 6.0, 23.0
#: traffic is ready for so long, in seconds; the story ends before
LONGEST_S = 540.0
AFTER_S = 20.0
APPROVER = "demo-approver"
NORMAL, ATTACKED, ROLLING, AFTER, HARMED = (
    "before the attack", "attack, first model", "rollout of the new model", "attack, new model", "harmful version on 30 % of cards",
)  # fmt: skip
#: it may decline more: that is what it is for. So nothing limits its declines; it must stop what the live model stops, and not fail
NEW_MODEL_PLAN = """
no_data_s = 60
[[steps]]
kind = "shadow"
min_decisions = 2000
min_s = 5
[[steps]]
kind = "canary"
share = 0.25
min_decisions = 1000
min_s = 5
[[steps]]
kind = "canary"
share = 1.0
min_decisions = 1500
min_s = 5
[[guards]]
metric = "kept_declines"
min = 0.5
[[guards]]
metric = "error_rate"
max = 0.05
"""
#: no shadow: somebody is in a hurry, and the guard must find the harm among the version's own cards
HASTY_PLAN = """
no_data_s = 60
[[steps]]
kind = "canary"
share = 0.3
min_decisions = 100000
min_s = 60
[[guards]]
metric = "decline_rate"
max = 1.5
"""
HARMFUL_RULE = """
[[rules]]
name = "no-large-payments"
when = "amount_minor >= 1500"
action = "decline"
owner = "demo"
"""


def play(home: Path, rate: float, *, keep: bool, port_base: int | None, embedded: bool, say: Steps) -> int:
    """Play the story on a stack of its own; returns the exit code.

    Raises:
        StoryStuck: something did not happen in time.
    """
    settings = stack_settings(home, port_base, embedded, say)
    if stack.is_running(settings) or has_model(settings):
        raise click.UsageError(
            f"{home} has a stack with a model, and the story begins without one: name another folder with --home"
        )
    world = create_world(SEED, CARDS)
    scale = natural_scale(rate, world)
    day_s = 86_400 / scale
    live_from = from_ms(int((time.time() - LONGEST_S * scale) * 1000))
    run = Run(
        rate=rate, seconds=LONGEST_S, seed=SEED, cards=CARDS, scale=scale, start_ms=epoch_ms(live_from),
        attacks=(Switch(KIND, ATTACK_DAY * day_s, STRENGTH),),
    )  # fmt: skip
    with stopped_after(settings, keep, was_running=False, say=say):
        history = without(simulated_history(live_from, say, world), KIND)
        settings, version = start_with_model(
            settings, lambda: history, wait_s=START_WAIT_S, progress=say, settle=False
        )
        say(
            f"{MODEL} {version} is live. It was trained on a history without {_words(KIND)}. A simulated day takes {day_s:.1f} s"
        )
        warm_up(settings, history, WARM_DAYS, live_from, say)
        code = _perform(settings, run, live_from, say)
    say("the story is over")
    return code


def without(history: pa.Table, kind: str) -> pa.Table:
    """A history without one kind of fraud."""
    return history.filter(pc.fill_null(pc.not_equal(history["fraud_kind"], kind), True))


def _perform(settings: Settings, run: Run, live_from: datetime, say: Steps) -> int:
    board = Scoreboard()
    phases = Phases(board, KIND)
    with Watcher(settings.kafka, board), tempfile.TemporaryDirectory(prefix="tollgate-story-") as folder:
        with Traffic(settings, run, board) as traffic:
            stage = Stage(settings, traffic, board, phases, say)
            story = _Attack(stage, run, live_from, Path(folder))
            story.normal_traffic()
            story.attack()
            version = story.retraining()
            story.rollout(version)
            story.harmful_version()
            sent = traffic.sent
            say("the traffic ends")
        drain(board, sent)
    if traffic.report is None:
        raise StoryStuck("the traffic ended without a summary")
    say("summary")
    click.echo(
        "\n".join([*lines(traffic.report, sent / run.rate), "", *phases.lines(), "", addresses(settings)])
    )
    return 0 if complete(traffic.report) and improved(phases) else 1


def improved(phases: Phases) -> bool:
    """Whether the new model stops more of the attack than the first one did."""
    before, after = phases.of(ATTACKED).attack_share, phases.of(AFTER).attack_share
    return before is not None and after is not None and after > before


class _Attack:
    """The scenes, in order."""

    def __init__(self, stage: Stage, run: Run, live_from: datetime, folder: Path) -> None:
        self._stage, self._run, self._live_from, self._folder = stage, run, live_from, folder
        self._day_s = 86_400 / run.scale

    def normal_traffic(self) -> None:
        stage = self._stage
        stage.say("--- normal traffic")
        stage.phases.begin(NORMAL)
        stage.command("access", "add", APPROVER, "--role", "approver")
        stage.say(
            f"{APPROVER} is a second identity that this demo makes, with a key of its own. In life it is another person: four eyes"
        )
        stage.until_day(ATTACK_DAY, self._within(ATTACK_DAY))
        if stage.board.cause is not None:
            stage.say(f"a false alarm before the attack: {stage.board.cause.why}")
            stage.board.cause = None

    def attack(self) -> None:
        """Until the stack has seen it by itself and has asked for a new model."""
        stage = self._stage
        stage.say(f"--- an attack begins: {_words(KIND)}, a kind of fraud that the model has never seen")
        stage.phases.begin(ATTACKED)
        found = stage.wait(lambda: stage.board.cause, 120, "a drift alarm")
        stage.say(f"drift of {found.feature} ({found.detector}); likely cause: {found.cause}: {found.why}")
        stage.wait(lambda: stage.board.retraining, 60, "the request for a new model")
        requests = stage.command("drift", "--newest", "5")["retraining"]
        columns = ", ".join(sorted({row["feature"] for row in requests[-1]["evidence"]}))
        stage.say(f"the drift process has asked for a new model, with {columns} as evidence")

    def retraining(self) -> str:
        """A model that has learnt the attack; returns its version."""
        stage = self._stage
        stage.say(
            f"labels mature after 7 days: what is trained now cannot know the attack. Waiting until day {RETRAIN_DAY:g}"
        )
        stage.until_day(RETRAIN_DAY, self._within(RETRAIN_DAY))
        for row in stage.command("models", "list"):
            if row["state"] == "awaiting approval":
                stage.command(
                    "models", "reject", row["version"], "--as", APPROVER, "--why", "trained before the attack's labels had matured",
                )  # fmt: skip
            elif row["state"] == "rejected":
                stage.say(f"the answer to the drift's request, {row['version']}, was rejected: {row['why']}")
        days = math.ceil((time.time() - self._live_from.timestamp()) / 86_400)
        said = stage.command(
            "retrain",
            "--why",
            "labels of the attack have matured",
            "--days",
            str(days),
            "--wait",
            "120",
            codes=(0, 1),
        )["answer"]
        if said is None or said["result"] != "published":
            raise StoryStuck(f"no new model: {said}")
        version = str(said["version"])
        found = stage.command("models", "evidence", version)
        for text in gate_lines(msgspec.convert(found["pack"]["judgement"], Judgement)):
            stage.say(f"  {text}")
        stage.say(
            f"{MODEL} {version} has passed its gates and awaits approval; evidence {found['hash'][:12]}"
        )
        return version

    def rollout(self, version: str) -> None:
        """From the approval to every card, and what that changes."""
        stage = self._stage
        stage.say(f"--- {APPROVER} approves the evidence and asks for a rollout")
        stage.phases.begin(ROLLING)
        self._roll_out(version, NEW_MODEL_PLAN, "it knows the attack")
        ended = self._follow(version, 200)
        if ended.state != "done":
            raise StoryStuck(f"the rollout of {version} ended as {ended.state}: {ended.why}")
        served = confirm(stage.settings, ended.sequence)
        stage.say(f"{version} decides for every card, on {', '.join(served)}")
        stage.phases.begin(AFTER)
        until = time.monotonic() + AFTER_S
        stage.wait(lambda: time.monotonic() > until, AFTER_S + 30, "the end of this scene")

    def harmful_version(self) -> None:
        """A rule that declines what it should not; nobody but the guard finds it."""
        stage = self._stage
        stage.say("--- a harmful version: a rule that declines every payment of 15.00 and more")
        policy = self._folder / "policy.toml"
        stage.command("rules", "export", "--out", str(policy), as_json=False)
        policy.write_text(policy.read_text() + HARMFUL_RULE)
        version = stage.command("rules", "publish", str(policy), "--why", "fewer large frauds")["version"]
        stage.phases.begin(HARMED)
        self._roll_out(version, HASTY_PLAN, "in a hurry")
        ended = self._follow(version, 150)
        if ended.state != "rolled_back":
            raise StoryStuck(f"the rollout of {version} ended as {ended.state}: {ended.why}")
        served = confirm(stage.settings, ended.sequence)
        took = f"{stage.board.versions[version]:,} payments were decided by {version}"
        stage.say(
            f"undone by itself: {ended.why}; {took}; {', '.join(sorted(set(served.values())))} is served"
        )

    def _roll_out(self, version: str, plan: str, why: str) -> None:
        file = self._folder / f"{version}.plan.toml"
        file.write_text(plan)
        self._stage.command("models", "rollout", version, "--plan", str(file), "--as", APPROVER, "--why", why)

    def _follow(self, version: str, within_s: float) -> RolloutRecord:
        """Tell each change of a rollout, until it has ended or needs a person."""
        told = -1

        def ended() -> RolloutRecord | None:
            nonlocal told
            record = kept_rollout(self._stage.settings.rollout_dir, MODEL)
            if record is None or record.run is None or record.run.challenger != version:
                return None
            if record.sequence > told:
                told = record.sequence
                self._stage.say(f"rollout: {_told(record)}")
            return record if record.state not in UNDER_WAY or record.run.pause else None

        return self._stage.wait(ended, within_s, f"the end of the rollout of {version}")

    def _within(self, day: float) -> float:
        return 60 + 2 * day * self._day_s


def _told(record: RolloutRecord) -> str:
    run = record.run
    assert run is not None
    if not run.loaded:
        return f"the replicas load {run.challenger} ({record.why})"
    share = record.traffic.get("challenger", 0.0)
    step = f"step {run.step} of {len(run.plan.steps)}"
    return f"{record.state}, {step}, {share:.0%} of the cards are decided by {run.challenger} ({record.why})"


def _words(name: str) -> Any:
    return name.replace("_", " ")
