"""A policy goes from a file to live decisions: published, approved through the rollout process, taken up by a replica."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from features.catalogue import WIDTH
from features.transaction import Transaction, from_ms
from models.bundle.content import MODEL
from models.decision import Decision
from models.policy.policy import Policy
from services.cli.main import run
from services.rollout.process import Rollout
from services.rollout.requests import approve, rollback
from services.scoring.decision.decider import Case, Decider
from services.scoring.model.live import LiveModel
from tests.support.policy_samples import publish_with
from tests.support.rollout_stack import NOW, RolloutStack
from tests.support.waiting import STALL_S, until

RULES = """
[[rules]]
name = "from-a-new-country"
when = "country = 'NG' AND amount_minor > 1000"
action = "decline"
owner = "ann"

[[lists]]
name = "watched"
kind = "watch"
field = "merchant_id"
owner = "ann"
expires = 2100-01-01T00:00:00Z
entries = ["m-9"]
"""
AT_MS = 1_795_000_000_000


def decided(live: LiveModel, country: str, merchant: str) -> Decision:
    tx = Transaction(
        transaction_id="tx-1", event_time=from_ms(AT_MS), card_id="c-1", merchant_id=merchant, amount_minor=5000,
        currency="EUR", country=country,
    )  # fmt: skip
    case = Case(tx, AT_MS, AT_MS, 0)
    decider = Decider(clock=lambda: AT_MS / 1000)
    return decider.decide([case], np.zeros((1, WIDTH), np.float32), live.scorer)[0]


def test_a_file_becomes_live_without_a_deploy(
    rollout_stack: RolloutStack, rollout_process: Rollout, tmp_path: Path
) -> None:
    home = rollout_stack.settings.root
    publish_with(home, Policy(version="1", review=0.999, decline=1.0), state="awaiting approval")
    who = {"by": "ada", "why": "checked", "now": NOW}
    approve(rollout_stack.settings, MODEL, "1.0.0", **who)
    stop = threading.Event()
    live = LiveModel(rollout_stack.settings, stop)
    try:
        until(lambda: live.version == "1.0.0", STALL_S, "version 1.0.0")
        before = decided(live, "NG", "m-9")
        assert (before.decision, before.rules, before.policy_version) == ("approve", [], "1")
        file = tmp_path / "rules.toml"
        file.write_text(RULES)
        assert run(["rules", "publish", str(file), "--home", str(home)]) == 0
        assert live.version == "1.0.0"
        approve(rollout_stack.settings, MODEL, "1.0.1", **who)
        until(lambda: live.version == "1.0.1", STALL_S, "version 1.0.1")
        after = decided(live, "NG", "m-9")
        assert (after.decision, after.rules) == ("decline", ["from-a-new-country", "watched"])
        assert (after.policy_version, after.model_version) == ("2", "1.0.1")
        assert after.score == before.score
        watched = decided(live, "FR", "m-9")
        assert (watched.decision, watched.rules) == ("review", ["watched"])
        rollback(rollout_stack.settings, MODEL, **who)
        until(lambda: live.version == "1.0.0", STALL_S, "version 1.0.0")
        assert decided(live, "NG", "m-9").decision == "approve"
    finally:
        stop.set()
