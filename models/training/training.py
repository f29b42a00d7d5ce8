"""Training: a model on the oldest rows, calibration and thresholds on the next, evaluation on the newest.

The order of time is kept throughout: a model is evaluated on rows later than those it was trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xgboost

from features.attributes import NO_ATTRIBUTES, Attributes
from features.catalogue import CATALOGUE_HASH
from features.vector_layouts import OWN
from models.bundle.attribute_columns import NO_COLUMNS, AttributeColumns
from models.bundle.content import BundleContent
from models.bundle.reference import sample_reference
from models.policy.policy import TRAINER, Policy, Rule
from models.policy.review_terms import NO_TERMS, ReviewTerms
from models.scoring.calibration import Calibration, CalibrationError, fit_calibration
from models.scoring.onnx_export import to_onnx
from models.training.attribute_encoding import block_to_fit, learn_columns
from models.training.dataset import DAY_MS, Dataset, DatasetError, FloatArray
from models.training.evaluation import compare, evaluate
from models.training.label_states import MATURITY_MS
from models.training.learners.boosted import fit_booster
from models.training.learners.parameters import Parameters
from models.training.threshold_choice import Choice, choose, thresholds_of

MIN_FRAUDS = 20
#: calibrated probabilities (n,) of a data set's rows
Scoring = Callable[[Dataset], FloatArray]


@dataclass(frozen=True)
class Trained:
    """A model that can score: booster, calibration, policy, and its evaluation on rows newer than all of these."""

    booster: xgboost.Booster
    calibration: Calibration
    policy: Policy
    evaluation: dict[str, Any]
    train: Dataset
    fit_s: float
    parameters: Parameters
    parts: dict[str, Any] = field(default_factory=dict)
    #: attributes of one's own that it takes; ``train`` has their columns too
    attributes: AttributeColumns = NO_COLUMNS
    #: how its parameters were found; empty if they were given
    tuning: dict[str, Any] = field(default_factory=dict)

    def score(self, matrix: FloatArray) -> FloatArray:
        """Calibrated probabilities (n,) of rows with the attributes' columns."""
        return self.calibration.apply(margins(self.booster, matrix))


def margins(booster: xgboost.Booster, matrix: FloatArray) -> FloatArray:
    """Log-odds (n,) of rows (n, width of the model)."""
    out: FloatArray = booster.inplace_predict(np.ascontiguousarray(matrix), predict_type="margin")
    return out.reshape(-1)


def fit(data: Dataset, parameters: Parameters) -> xgboost.Booster:
    """Train a model of ``parameters.kind`` on the rows of ``data``, sampled down to ``max_rows``.

    Whatever the kind, it is a booster: all kinds are sums of trees (``learners.additive``).

    Raises:
        DatasetError: a class is missing or there are too few frauds.
    """
    if data.frauds < MIN_FRAUDS or data.frauds == len(data):
        raise DatasetError(
            f"{data.frauds} frauds in {len(data)} rows: training needs at least {MIN_FRAUDS}, and honest rows"
        )
    rows = _sampled(data, parameters)
    some = data.take(rows) if len(rows) < len(data) else data
    if parameters.kind == "boosted":
        return fit_booster(some, parameters)
    # scikit-learn is slow to import
    from models.training.learners.additive import to_booster
    from models.training.learners.stack import MEMBERS, fit_stack

    learner = fit_stack if parameters.kind == "stack" else MEMBERS[parameters.kind]
    return to_booster(learner(some, parameters))


def with_columns(data: Dataset, columns: AttributeColumns) -> Dataset:
    """The rows with a model's attributes behind the features."""
    return _beside(data, columns.block(len(data), data.given())) if columns else data


def _beside(data: Dataset, block: FloatArray) -> Dataset:
    return replace(data, matrix=np.concatenate([data.matrix, block], axis=1))


def fit_with(
    data: Dataset, parameters: Parameters, attributes: Attributes, delay_ms: int = MATURITY_MS
) -> tuple[xgboost.Booster, AttributeColumns]:
    """``fit`` on features and the attributes that a stack declares; texts as their log-odds by labels ``delay_ms`` old or older.

    Raises:
        DatasetError: see ``fit``.
    """
    columns = learn_columns(data.given(), data.fraud, attributes)
    if not columns:
        return fit(data, parameters), columns
    block = block_to_fit(columns, data.given(), data.fraud, data.event_ms, data.event_ms + delay_ms)
    return fit(_beside(data, block), parameters), columns


def train(
    data: Dataset, parameters: Parameters, *, policy_version: str, live: tuple[Scoring, Policy] | None = None,
    attributes: Attributes = NO_ATTRIBUTES, terms: ReviewTerms = NO_TERMS,
) -> Trained:  # fmt: skip
    """Fit on the oldest 70 %, calibrate and set thresholds on the next 15 %, evaluate on the newest 15 %, of which nothing is inferred.

    Args:
        attributes: those that the stack declares: columns of the model where rows have them.
        live: the model in service as (score function, policy), measured on the same newest rows. The new policy keeps what
            people set in its policy (rules, lists, thresholds by tenant and channel, expected loss).
        terms: how many reviews people can do, and what decisions cost.

    Raises:
        DatasetError: one of the parts has too few rows or frauds.
    """
    oldest, held_out, newest = data.split(0.7, 0.15)
    parameters, tuning = _tuned(oldest, parameters)
    start = time.perf_counter()
    booster, columns = fit_with(oldest.with_inferred(data), parameters, attributes)
    fit_s = time.perf_counter() - start
    held_out = with_columns(held_out.with_inferred(data), columns)
    held_margins = margins(booster, held_out.matrix)
    try:
        calibration, log_loss = fit_calibration(held_margins, held_out.fraud, held_out.weight)
    except CalibrationError as error:
        raise DatasetError(f"calibration on the held-out slice failed: {error}") from error
    policy, choices = choose_policy(held_out, calibration.apply(held_margins), policy_version, terms)
    if live is not None:
        policy = policy.with_parts_of(live[1])
    scores = calibration.apply(margins(booster, with_columns(newest, columns).matrix))
    evaluation = evaluate(newest, scores, policy, terms)
    evaluation["thresholds"] = msgspec.to_builtins(choices)
    evaluation["calibration"] = {"kind": calibration.kind, "log_loss": log_loss}
    if live is not None:
        both = compare((lambda _: scores, policy), live, newest, terms)
        evaluation |= {"live": both["live"], "difference": both["difference"]}
    parts = {"train": _span(oldest), "calibrate": _span(held_out), "test": _span(newest)}
    return Trained(
        booster,
        calibration,
        policy,
        evaluation,
        with_columns(oldest, columns),
        fit_s,
        parameters,
        parts,
        columns,
        tuning,
    )


def _tuned(data: Dataset, parameters: Parameters) -> tuple[Parameters, dict[str, Any]]:
    """The parameters to fit with, and how they were found."""
    if not parameters.tune_s:
        return parameters, {}
    from models.training.tuning import prequential, tuned  # it fits models, with what is here

    found = tuned(prequential(data), parameters, budget_s=parameters.tune_s)
    return found.parameters, found.account()


def choose_policy(
    data: Dataset, scores: FloatArray, version: str, terms: ReviewTerms = NO_TERMS
) -> tuple[Policy, list[Choice]]:
    """The thresholds of least expected loss that a held-out slice gives (``threshold_choice``), and a rule for very large amounts.

    Payments far above nearly all others are reviewed if their score is at all raised.
    """
    choices = choose(data, scores, terms)
    review = choices[0].review
    amounts = data.amount_minor()
    limit = float(np.nanquantile(amounts, 0.999)) if np.isfinite(amounts).any() else 500_000.0
    limit = float(np.ceil(limit / 1000) * 1000)
    rule = Rule(
        "amount-over-limit", f"amount > {limit:.0f} AND score >= {review / 4!r}", "review", TRAINER,
        "amount far above nearly all payments, and a raised score",
    )  # fmt: skip
    policy = Policy(
        version=version, review=review, decline=choices[0].decline, rules=(rule,),
        thresholds=thresholds_of(choices),
    )  # fmt: skip
    return policy, choices


def bundle_content(
    trained: Trained, *, created_at: str, code_version: str, extra: dict[str, Any]
) -> BundleContent:
    """The bundle to publish, with its lineage.

    Args:
        created_at: RFC 3339, for the lineage.
        extra: further entries of the lineage (fingerprint and source of all data, request, notes).
    """
    # the newer half: the first rows of a history were made in a state that knew no card yet
    newer = trained.train.split(0.5)[1]
    layout = trained.attributes.behind(OWN)
    rows = sample_reference(
        newer.matrix, trained.score(newer.matrix), layout.names, seed=trained.parameters.seed
    )
    reference = replace(rows, decisions=trained.policy.decide(rows.scores, rows.matrix)[0])
    lineage = {
        "data_fingerprint": trained.train.fingerprint(),
        "catalogue_hash": CATALOGUE_HASH,
        "code_version": code_version,
        "created_at": created_at,
        "parameters": msgspec.to_builtins(trained.parameters),
        "fit_s": trained.fit_s,
        "parts": trained.parts,
        **({"tuning": trained.tuning} if trained.tuning else {}),
        "features": len(layout.names),
        "attributes": list(trained.attributes.names),
        **extra,
    }
    return BundleContent(
        model_ubj=bytes(trained.booster.save_raw("ubj")), model_onnx=to_onnx(trained.booster),
        calibration=trained.calibration, policy=trained.policy, reference=reference,
        evaluation=trained.evaluation, lineage=lineage, layout=layout,
        attributes=trained.attributes,
    )  # fmt: skip


def _sampled(data: Dataset, parameters: Parameters) -> npt.NDArray[np.int64]:
    if len(data) <= parameters.max_rows:
        return np.arange(len(data))
    rng = np.random.default_rng(parameters.seed)
    frauds, honest = np.flatnonzero(data.fraud), np.flatnonzero(~data.fraud)
    room = max(parameters.max_rows - len(frauds), parameters.max_rows // 2)
    return np.sort(np.concatenate([frauds, rng.choice(honest, min(room, len(honest)), replace=False)]))


def _span(data: Dataset) -> dict[str, Any]:
    first, last = int(data.event_ms[0]), int(data.event_ms[-1])
    return {
        "rows": len(data),
        "frauds": data.frauds,
        "from_ms": first,
        "to_ms": last,
        "days": (last - first) / DAY_MS,
    }
