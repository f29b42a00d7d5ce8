"""How a rollout goes from step to step: by itself when its guards are proven kept, back when one is proven broken, and when a person says so.

idle -> shadow -> canary or ab ... -> done, or rolled_back; paused in between. Pure: a run, what was measured and the time in, the next
run or its end out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from models.rollout.plan import Metric, Plan, Step
from models.rollout.run import Check, RolloutState, Run
from models.rollout.transitions import TransitionRefused

RunAction = Literal["pause", "resume", "step", "abort"]


@dataclass(frozen=True)
class Measured:
    """What a step has seen. ``decisions``: of the challenger. ``last_data``: when the newest of them was appended."""

    decisions: int = 0
    last_data: datetime | None = None
    checks: tuple[Check, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """The next state. ``run`` has the step and the pause; ``end``: it is over. ``why``: for people, with figures."""

    run: Run
    why: str
    end: Literal["done", "rolled_back"] | None = None


def begin(
    run_id: str, plan: Plan, champion: str, challenger: str, by: str, now: datetime, *, reviewed: bool = False
) -> Run:
    """The run at its first step. ``run_id``: also the salt of the cards' hash."""
    run = Run(
        id=run_id, champion=champion, challenger=challenger, plan=plan, step=1, started_at=now, started_by=by, step_since=now,
        reviewed=reviewed,
    )  # fmt: skip
    return _arrived(run)


def step_of(run: Run) -> Step:
    """The current step."""
    return run.plan.steps[run.step - 1]


def share_of(run: Run) -> float:
    """The challenger's share of the cards, 0 to 1: that of the newest step that gave it one; 0 until every replica has its bundle."""
    share = 0.0
    if not run.loaded:
        return share
    for step in run.plan.steps[: run.step]:
        if step.kind == "blue_green":
            share = 1.0
        elif step.share is not None:
            share = step.share
    return share


def state_of(run: Run) -> RolloutState:
    """The state to show while the run is under way."""
    if run.pause:
        return "paused"
    kind = step_of(run).kind
    return "ab" if kind == "ab" else "shadow" if kind == "shadow" else "canary"


def loaded(run: Run, now: datetime) -> Move:
    """Every replica has the challenger's bundle: its first step begins."""
    return Move(
        msgspec.structs.replace(run, loaded=True, step_since=now), f"every replica has {run.challenger}"
    )


def not_loaded(run: Run, why: str) -> Move:
    """A replica refused the challenger's bundle, or did not load it in time."""
    return Move(run, why, "rolled_back")


def advance(run: Run, since: datetime, measured: Measured, now: datetime) -> Move | None:
    """What follows from the figures; None while there is nothing to do. Call it as often as you like.

    Args:
        since: when the run was last changed, for instance resumed.

    A broken guard rolls back also while a person has paused the run. A paused run does not go on by itself.
    """
    run = msgspec.structs.replace(run, checks=measured.checks, figures=measured.figures)
    broken = [check for check in measured.checks if check.result == "fail"]
    if broken:
        return Move(run, "; ".join(told(check) for check in broken), "rolled_back")
    if run.pause:
        return None
    step, in_step = step_of(run), (now - run.step_since).total_seconds()
    heard = max(since, measured.last_data or since)
    if (now - heard).total_seconds() > run.plan.no_data_s:
        why = f"no decision of {run.challenger} for {(now - heard).total_seconds():.0f} s in step {run.step} ({step.kind})"
        if run.plan.on_no_data == "rollback":
            return Move(run, why, "rolled_back")
        return Move(msgspec.structs.replace(run, pause="no_data"), why)
    waiting = _waiting(run, step, measured)
    # a plan may ask for no number of decisions, but none at all proves nothing
    enough = measured.decisions >= max(1, step.min_decisions)
    if in_step >= step.min_s and enough and not waiting:
        passed = [check.name for check in measured.checks if check.result == "pass"]
        return following(run, f"step {run.step} ({step.kind}) holds: {', '.join(passed) or 'no guard'}", now)
    if (now - since).total_seconds() > step.max_s:
        why = f"step {run.step} ({step.kind}) has not ended within {step.max_s:g} s: " + (
            "; ".join(map(told, waiting)) or f"{measured.decisions} of {step.min_decisions} decisions"
        )
        return Move(msgspec.structs.replace(run, pause="inconclusive"), why)
    return None


def following(run: Run, why: str, now: datetime) -> Move:
    """The next step, or the end after the last one."""
    passed: Sequence[Metric] = [check.name for check in run.checks if check.result == "pass"]  # type: ignore[misc]
    proven = tuple(dict.fromkeys([*run.proven, *passed]))
    if run.step == len(run.plan.steps):
        return Move(msgspec.structs.replace(run, pause="", proven=proven), why, "done")
    after = msgspec.structs.replace(
        run, step=run.step + 1, step_since=now, pause="", proven=proven, checks=()
    )
    return Move(_arrived(after), why)


def asked(run: Run, action: RunAction, why: str, now: datetime) -> Move:
    """What a person's request leads to.

    Raises:
        TransitionRefused: the run stands still already, or does not.
    """
    if action == "abort":
        return Move(run, why, "rolled_back")
    if action == "pause":
        if run.pause:
            raise TransitionRefused(f"the rollout of {run.challenger} is paused already ({run.pause})")
        return Move(msgspec.structs.replace(run, pause="person"), why)
    if action == "resume" and not run.pause:
        raise TransitionRefused(f"the rollout of {run.challenger} is not paused")
    if action == "step" or run.pause == "approval":
        if not run.loaded:
            raise TransitionRefused(
                f"not every replica has {run.challenger} yet: wait a few seconds, or `tollgate rollout abort`"
            )
        return following(run, why, now)
    return Move(msgspec.structs.replace(run, pause=""), why)


def told(check: Check) -> str:
    """A check in words, with its figures."""
    if check.estimate is not None:
        figures = f"{check.estimate:.4g}"
        if check.low is not None and check.high is not None:
            figures += f" ({check.low:.4g} to {check.high:.4g})"
    else:
        # nothing to divide by: the champion has none
        figures = "unknown" if not check.low else f"above {check.low:.4g}"
    return f"{check.name} is {figures} of {check.n} observations, limit {check.limit}: {check.result}"


def _waiting(run: Run, step: Step, measured: Measured) -> list[Check]:
    """The checks that the end of the step waits for."""
    required = {guard.metric for guard in run.plan.guards_of(step) if guard.must_pass} - set(run.proven)
    return [check for check in measured.checks if check.result != "pass" and check.name in required]


def _arrived(run: Run) -> Run:
    """A step of the kind wait_approval stands still until a person says otherwise."""
    return msgspec.structs.replace(run, pause="approval") if step_of(run).kind == "wait_approval" else run
