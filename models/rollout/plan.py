"""A rollout's plan: the steps that a new model takes, and the guards that stop it. A few lines of TOML, checked as a whole.

Imports nothing of ours: the plan travels in the record on `rollouts`, which the drift stream reads in an environment of its own.
"""

from __future__ import annotations

import math
import tomllib
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

StepKind = Literal["shadow", "canary", "ab", "blue_green", "wait_approval"]
#: of the two arms' decisions; with ``paired`` of the two models' decisions on the same payments, while one is the shadow
Metric = Literal[
    "decline_rate",  # cards with a declined payment
    "review_rate",  # cards with a reviewed payment
    "error_rate",  # cards with a payment that the challenger should have decided and did not
    "latency_p99_ms",  # in periods with enough decisions
    "score_psi",  # population stability index of the scores of each card's first payment
    "kept_declines",  # shadow: of the cards that the champion declined, the share that the challenger declines or reviews too
    "changed_decisions",  # shadow: of the cards, the share on which the two models' first decisions differ
    "missed_fraud",  # labels: cards with an approved payment that turned out fraud
    "caught_fraud",  # labels: cards with a reviewed or declined payment that turned out fraud
    "precision",  # labels: of the reviewed payments with a label, the share of fraud
    "caught_money",  # labels: of the fraud money in one ``currency``, the share that was reviewed or declined
]
Compare = Literal["ratio", "absolute"]
METRICS: tuple[Metric, ...] = get_args(Metric)
#: known days after the decision
OF_LABELS: frozenset[Metric] = frozenset({"missed_fraud", "caught_fraud", "precision", "caught_money"})
#: measured while the challenger is the shadow, and while it has a share of the cards
IN_SHADOW: frozenset[Metric] = frozenset(
    {"decline_rate", "review_rate", "error_rate", "score_psi", "kept_declines", "changed_decisions"}
)
IN_ARMS: frozenset[Metric] = frozenset(METRICS) - {"kept_declines", "changed_decisions"}
#: of each metric, how it may be compared with its limit; the first is the default
COMPARES: dict[Metric, tuple[Compare, ...]] = {
    "decline_rate": ("ratio",),
    "review_rate": ("ratio",),
    "error_rate": ("absolute",),
    "latency_p99_ms": ("ratio", "absolute"),
    "score_psi": ("absolute",),
    "kept_declines": ("absolute",),
    "changed_decisions": ("absolute",),
    "missed_fraud": ("ratio",),
    "caught_fraud": ("ratio",),
    "precision": ("ratio",),
    "caught_money": ("ratio",),
}
MAX_STEPS, MAX_GUARDS, MAX_PLAN_BYTES = 16, 16, 8_192
DAY_S = 86_400.0


class PlanError(Exception):
    """A plan does not hold; the text names the place and says what would."""

    exit_code = 2


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step. It ends when ``min_decisions`` of the challenger and ``min_s`` are reached and every required guard passes.

    ``share``: of the cards, 0 to 1, for canary and ab. ``max_s``: a step that has not ended by then pauses for a person.
    """

    kind: StepKind
    share: float | None = None
    #: TOML's whole numbers have no bound, those of a record on Kafka have
    min_decisions: Annotated[int, Meta(lt=2**53)] = 0
    min_s: float = 0.0
    max_s: float = DAY_S


class Guard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A limit. Proof that it is broken rolls back; a ``required`` guard must be proven kept before a step ends.

    ``required`` None: yes, except for what is known from labels only. What one step has proven, later ones watch without waiting.
    ``currency``: of ``caught_money``, because amounts of different currencies do not add up.
    """

    metric: Metric
    compare: Compare | None = None
    max: float | None = None
    min: float | None = None
    required: bool | None = None
    currency: str | None = None

    @property
    def compared(self) -> Compare:
        """How it is compared."""
        return self.compare or COMPARES[self.metric][0]

    @property
    def must_pass(self) -> bool:
        """Whether a step waits for its proof."""
        return self.metric not in OF_LABELS if self.required is None else self.required


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Steps in order, and the guards of all steps.

    ``alpha``: the probability that an identical model is rolled back, over the whole rollout and all guards. ``no_data_s``: so
    long without a decision of the challenger is no data.
    """

    steps: tuple[Step, ...]
    guards: tuple[Guard, ...] = ()
    on_no_data: Literal["pause", "rollback"] = "pause"
    no_data_s: float = 120.0
    alpha: float = 0.01

    def guards_of(self, step: Step) -> tuple[Guard, ...]:
        """The guards that a step can measure."""
        if step.kind == "wait_approval":
            return ()
        measured = IN_SHADOW if step.kind == "shadow" else IN_ARMS
        return tuple(guard for guard in self.guards if guard.metric in measured)


DEFAULT_PLAN = Plan(
    steps=(
        Step(kind="shadow", min_decisions=20_000, min_s=60),
        Step(kind="canary", share=0.01, min_decisions=5_000, min_s=60),
        Step(kind="canary", share=0.05, min_decisions=5_000, min_s=60),
        Step(kind="canary", share=0.25, min_decisions=20_000, min_s=60),
        Step(kind="canary", share=1.0, min_decisions=20_000, min_s=60),
    ),
    guards=(
        Guard(metric="decline_rate", max=1.3, min=0.7),
        Guard(metric="review_rate", max=1.5, min=0.6),
        Guard(metric="kept_declines", min=0.7),
        Guard(metric="error_rate", max=0.01),
        Guard(metric="latency_p99_ms", max=1.5),
        Guard(metric="score_psi", max=0.25),
        Guard(metric="missed_fraud", max=1.5),
    ),
)


def parse_plan(text: str) -> Plan:
    """The plan in a TOML text.

    Raises:
        PlanError: it does not parse, or does not hold.
    """
    if len(text.encode()) > MAX_PLAN_BYTES:
        raise PlanError(f"the plan has more than {MAX_PLAN_BYTES} bytes")
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan is no TOML: {error}") from error
    except RecursionError:
        raise PlanError("the plan is no TOML: it is nested too deeply") from None
    try:
        plan = msgspec.convert(found, Plan)
    except msgspec.ValidationError as error:
        raise PlanError(f"the plan does not hold: {error}") from error
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> None:
    """Raises: PlanError, with the number of the step or the guard."""
    if not 1 <= len(plan.steps) <= MAX_STEPS or len(plan.guards) > MAX_GUARDS:
        raise PlanError(f"a plan has 1 to {MAX_STEPS} [[steps]] and at most {MAX_GUARDS} [[guards]]")
    if not 0 < plan.alpha <= 0.1:
        raise PlanError("alpha must lie above 0 and be at most 0.1")
    if not 1 <= plan.no_data_s <= DAY_S:
        raise PlanError("no_data_s must lie between 1 and 86400 seconds")
    share = 0.0
    for number, step in enumerate(plan.steps, 1):
        share = _check_step(f"step {number} ({step.kind})", step, share)
    for number, guard in enumerate(plan.guards, 1):
        _check_guard(f"guard {number} ({guard.metric})", guard)
    if len({guard.metric for guard in plan.guards}) < len(plan.guards):
        raise PlanError("a metric has two guards: put max and min into one")


def _check_step(name: str, step: Step, share_before: float) -> float:
    """The share of the challenger in this step. Raises: PlanError."""
    if step.min_decisions < 0 or step.min_s < 0:
        raise PlanError(f"{name}: min_decisions and min_s must not be negative")
    if not step.min_s < step.max_s <= 30 * DAY_S:
        raise PlanError(f"{name}: max_s must be above min_s, and at most 30 days")
    if step.kind == "shadow" and share_before > 0:
        raise PlanError(f"{name}: a shadow comes before the steps that give the challenger a share")
    if step.kind not in ("canary", "ab"):
        if step.share is not None:
            raise PlanError(f"{name}: only canary and ab have a share")
        return 1.0 if step.kind == "blue_green" else share_before
    if step.share is None or not 0 < step.share <= 1:
        raise PlanError(f"{name}: share must lie above 0 and be at most 1 (0.05 is 5 % of the cards)")
    if step.share < share_before:
        raise PlanError(
            f"{name}: share {step.share:g} is less than {share_before:g} before it: cards would change back"
        )
    if step.kind == "ab" and (step.min_s <= 0 or step.share == 1):
        raise PlanError(f"{name}: ab compares two arms for a stated time: give min_s, and a share below 1")
    return step.share


def _check_guard(name: str, guard: Guard) -> None:
    """Raises: PlanError."""
    if guard.max is None and guard.min is None:
        raise PlanError(f"{name}: give max, min or both")
    if any(limit is not None and math.isnan(limit) for limit in (guard.max, guard.min)):
        # nothing is above it, and nothing below: the guard would never speak
        raise PlanError(f"{name}: nan is no limit")
    if guard.metric == "latency_p99_ms" and (guard.max is None or guard.min is not None):
        raise PlanError(f"{name}: a latency has a max, and no min")
    if (guard.metric == "caught_money") != (guard.currency is not None):
        raise PlanError(
            f'{name}: caught_money, and no other metric, needs a currency, such as currency = "EUR"'
        )
    if guard.currency is not None and not (
        len(guard.currency) == 3 and guard.currency.isascii() and guard.currency.isupper()
    ):
        raise PlanError(f"{name}: a currency has three capital letters, such as EUR")
    if guard.compare is not None and guard.compare not in COMPARES[guard.metric]:
        raise PlanError(f"{name}: compare must be {' or '.join(COMPARES[guard.metric])}")
    if guard.max is not None and guard.min is not None and guard.min >= guard.max:
        raise PlanError(f"{name}: min must be less than max")
    if guard.compared == "ratio" and not ((guard.max or 2) > 1 and 0 <= (guard.min or 0) < 1):
        raise PlanError(f"{name}: of a ratio, max must be above 1 and min below 1: an identical model has 1")
    if (guard.max is not None and guard.max <= 0) or (guard.min is not None and guard.min < 0):
        raise PlanError(f"{name}: limits must not be negative")
