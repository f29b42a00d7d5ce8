"""From data to a signed bundle: build the data set, train, compare with the live model, publish."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import msgspec

from features.transaction import from_ms
from models.bundle.content import MODEL, Bundle, BundleRefused, bundle_path, publish
from models.bundle.registry import (
    State,
    VersionState,
    next_policy_version,
    next_version,
    peek,
    states,
    versions,
    write_state,
)
from models.bundle.signing import ensure_keys
from models.evidence.pack import made_pack, write_pack
from models.policy.policy import Policy
from models.scoring.scorer import Scorer
from models.training.archived import from_archive, load_seed
from models.training.dataset import Dataset, DatasetError, join
from models.training.gates.judge import judge, seen_until
from models.training.gates.side import Contender
from models.training.learners.parameters import Kind, Parameters
from models.training.threshold_choice import in_words
from models.training.training import Scoring, Trained, bundle_content, train
from services.trainer.simulated_data import seed_is_simulated, share_in_words
from streams.contracts.retraining import RetrainingRequest
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import Settings

Progress = Callable[[str], None]
#: with fewer archived rows or frauds, the first model's data set is added
ENOUGH_ROWS, ENOUGH_FRAUDS = 20_000, 200
#: only so many of the newest archived rows are read, to limit memory (about 100 MB)
NEWEST_ROWS = 400_000
#: who is said to have rejected a version that failed its gates
GATES = "gates"


@dataclass(frozen=True)
class Source:
    """A data set and its origin (texts and counts for the lineage)."""

    data: Dataset
    account: dict[str, Any]


@dataclass(frozen=True)
class Learned:
    """The published version, and why the gates rejected it; empty if they did not."""

    version: str
    rejected_for: list[str]


def seed_dir(settings: Settings) -> Path:
    """The folder of the first model's data set."""
    return settings.root / "archive-seed"


@dataclass(frozen=True)
class Window:
    """Event times (ms since 1970, both inclusive) of the rows that a request wants."""

    from_ms: int
    to_ms: int


def gather(settings: Settings, window: Window | None = None) -> Source:
    """Served features with their matured labels; if too few, the first model's data set is added.

    The archive holds only labels that have arrived, so none is from the future.

    Args:
        window: only rows with event time in it; None: all.

    Raises:
        DatasetError: neither has rows in the window.
    """
    since_ms, until_ms = (window.from_ms, window.to_ms) if window else (None, None)
    archived = from_archive(
        settings.archive_dir,
        since_ms=since_ms,
        until_ms=until_ms,
        newest=NEWEST_ROWS,
        attributes=settings.declared,
    )
    seed = load_seed(seed_dir(settings))
    if seed is not None and window is not None:
        seed = seed.between(window.from_ms, window.to_ms + 1)
    rows, frauds = (len(archived), archived.frauds) if archived else (0, 0)
    account: dict[str, Any] = {"archive_rows": rows, "archive_frauds": frauds, "simulated_rows": 0}
    if window is not None:
        account["window"] = {"from_ms": window.from_ms, "to_ms": window.to_ms}
    if archived is not None and rows >= ENOUGH_ROWS and frauds >= ENOUGH_FRAUDS:
        return Source(archived, account | {"source": "archive"})
    if seed is not None and seed_is_simulated(seed_dir(settings)):
        account["simulated_rows"] = len(seed)
    parts = [part for part in (seed, archived) if part]
    if not parts:
        raise DatasetError(
            f"no matured labels under {settings.archive_dir} and no first data set under {seed_dir(settings)}"
            f"{_of(window)}: wait for labels, or train from a history file"
        )
    note = f"only {rows} archived rows with {frauds} frauds have labels: the first model's data set was added"
    if not seed:
        note = f"only {rows} archived rows with {frauds} frauds have labels, and there is no first data set to add"
    return Source(join(parts), account | {"source": "seed and archive" if archived else "seed", "note": note})


def same_data(settings: Settings, source: Source) -> str | None:
    """The newest trained version, if it was trained on these very rows and labels, else None."""
    known = states(settings.bundles_dir, MODEL)
    for version in reversed(versions(settings.bundles_dir, MODEL)):
        if known[version] == "published":
            # the training ended before it said what becomes of the version: nobody can approve it
            continue
        lineage = peek(settings.bundles_dir, MODEL, version, "lineage.json")
        # a policy published with the live model's own lineage is no training
        if "policy" not in lineage:
            return version if lineage.get("data_fingerprint") == source.data.fingerprint() else None
    return None


def learn(
    settings: Settings, source: Source, *, now: datetime, by: str, why: str, state: State, parameters: Parameters,
    live_version: str | None, request: RetrainingRequest | None = None, author: str | None = None,
    progress: Progress | None = None,
) -> Learned:  # fmt: skip
    """Train, evaluate, hold against the live model, sign and publish.

    A model that fails a gate (``models.training.gates``) is published as rejected, with the reasons, so that it can be looked at;
    nobody can approve it.

    Args:
        live_version: the version served now, evaluated on the same rows, or None.
        state: the state of the published version if it passes all gates.
        author: the person who trains by hand, and so cannot approve it.

    Raises:
        DatasetError: too few rows or frauds.
        BundleRefused: the new bundle fails its checks; it is not published.
    """
    tell = progress or (lambda _text: None)
    live, live_note = _live(settings, live_version)
    simulated = share_in_words(source.account.get("simulated_rows", 0), len(source.data))
    tell(f"training on {len(source.data):,} rows, {source.data.frauds:,} frauds; {simulated}")
    policy_version = next_policy_version(settings.bundles_dir, MODEL)
    trained = train(
        source.data,
        parameters,
        policy_version=policy_version,
        live=_scoring(live) if live else None,
        attributes=settings.declared,
        terms=settings.review,
    )
    if live is None and live_version is not None:
        trained, live_note = _with_rules_of(settings, live_version, trained, live_note)
    account = source.account | source.data.account()
    extra: dict[str, Any] = {
        "data": account, "data_fingerprint": account["fingerprint"], "compared_with": live_note,
    }  # fmt: skip
    if author is not None:
        extra["proposed_by"] = author
    if request is not None:
        extra["request"] = msgspec.to_builtins(request)
    content = bundle_content(trained, created_at=now.isoformat(), code_version=code_version(), extra=extra)
    version = next_version(settings.bundles_dir, MODEL)
    ensure_keys(settings.keys_dir)
    path = bundle_path(settings.bundles_dir, MODEL, version)
    # the model's two backends must agree before anybody can approve it
    scorer = Scorer(_unpublished(content, version, path, now), measure=False)
    judgement = judge(
        contender(scorer),
        contender(live) if live else None,
        source.data,
        now=now,
        protected=settings.declared.protected,
    )
    content = replace(content, evaluation=content.evaluation | {"gates": judgement.summary()})
    publish(content, settings.bundles_dir, settings.keys_dir, model=MODEL, version=version, created_at=now)
    made = verified_bundle(settings, version)
    against = live.bundle if live else bundle_of_any_catalogue(settings, live_version)
    pack = made_pack(made, against, judgement, now=now)
    write_pack(settings.bundles_dir, settings.keys_dir, pack)
    reasons = judgement.reasons
    told = VersionState(state=state, since=now, by=by, why=why)
    if reasons:
        state = "rejected"
        told = VersionState(state=state, since=now, by=GATES, why="; ".join(reasons))
    write_state(settings.bundles_dir, MODEL, version, told)
    figures = trained.evaluation
    tell(
        f"{MODEL} {version}: average precision {_show(figures['average_precision'])}, AUC {_show(figures['auc_roc'])} "
        f"on {figures['rows']:,} newer rows; fitted in {trained.fit_s:.1f} s; {state}"
    )
    for line in in_words(figures):
        tell(line)
    for reason in reasons:
        tell(f"rejected for {reason}")
    return Learned(version, reasons)


def contender(scorer: Scorer) -> Contender:
    """A model as the gates take it."""
    bundle = scorer.bundle
    auc = bundle.evaluation.get("auc_roc")
    return Contender(
        version=bundle.version, score=scorer.score, policy=scorer.policy, seen_until_ms=seen_until(bundle.lineage),
        auc_roc=auc if isinstance(auc, float) else None, bytes=len(bundle.model_ubj) + len(bundle.model_onnx),
        taken=lambda rows: scorer.with_attributes(rows.matrix, rows.given()),
    )  # fmt: skip


def live_by_state(settings: Settings) -> str | None:
    """The version whose state on disk is live, or None."""
    found = [version for version, state in states(settings.bundles_dir, MODEL).items() if state == "live"]
    return found[-1] if found else None


def kind_of(settings: Settings, version: str | None) -> Kind:
    """The kind of a version's model, which a retraining keeps; without a version, or of one that does not say: XGBoost."""
    lineage = peek(settings.bundles_dir, MODEL, version, "lineage.json") if version is not None else {}
    parameters = lineage.get("parameters")
    found = parameters.get("kind") if isinstance(parameters, dict) else None
    kinds: tuple[Kind, ...] = get_args(Kind)
    return next((kind for kind in kinds if kind == found), "boosted")


def code_version() -> str:
    """The commit of the checkout that this code runs from, else the installed version."""
    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=False
        )
        if done.returncode == 0:
            return done.stdout.strip()
    return importlib.metadata.version("tollgate")


def _of(window: Window | None) -> str:
    if window is None:
        return ""
    return f" from {from_ms(window.from_ms).isoformat()} to {from_ms(window.to_ms).isoformat()}"


def _live(settings: Settings, version: str | None) -> tuple[Scorer | None, str]:
    if version is None:
        return None, "no model was live"
    try:
        return Scorer(verified_bundle(settings, version), measure=False), version
    except BundleRefused as error:
        return None, f"{version} could not be loaded: {error}"


def bundle_of_any_catalogue(settings: Settings, version: str | None) -> Bundle | None:
    """A verified bundle, also one that this code cannot score with; None without a version, or where it is refused."""
    if version is None:
        return None
    try:
        return verified_bundle(settings, version, any_catalogue=True)
    except BundleRefused:
        return None


def _with_rules_of(settings: Settings, version: str, trained: Trained, note: str) -> tuple[Trained, str]:
    """Copy rules and lists from a live bundle that this code cannot score with because of another catalogue."""
    try:
        policy = verified_bundle(settings, version, any_catalogue=True).policy
    except BundleRefused as error:
        return trained, f"{note}; its rules and lists were not copied: {error}"
    return replace(trained, policy=trained.policy.with_parts_of(policy)), note


def _scoring(live: Scorer) -> tuple[Scoring, Policy]:
    return contender(live).scored, live.policy


def _unpublished(content: Any, version: str, path: Path, now: datetime) -> Bundle:
    fields = {name: getattr(content, name) for name in content.__dataclass_fields__}
    return Bundle(**fields, model=MODEL, version=version, path=path, created_at=now)


def _show(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
