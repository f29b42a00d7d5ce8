"""``tollgate features late`` against a running broker: reads `features` twice, with bounded memory.

The topic keeps seven days. Earlier payments are missing from both orders that are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from features.store.redis_client import RespClient
from models.bundle.content import MODEL, BundleRefused
from models.bundle.registry import states
from models.scoring.scorer import Scorer
from streams.audit.lateness import MAX_RECORDS, RECOMPUTED, Lateness, in_hindsight
from streams.log.feature_batch import FeatureBatch, FeatureBatchError, FeatureRecord, decode_batch
from streams.log.other_catalogues import Layouts, stored_in
from streams.log.topics import FEATURES, TRANSACTIONS
from streams.runtime.bundles import verified_bundle
from streams.runtime.kafka.log_reader import end_of, read_span, whole_log
from streams.runtime.settings import Settings


class NoModel(Exception):
    """No live bundle can be used for scoring; the text says why."""

    exit_code = 1


def report_lateness(settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Counts of late payments and what they would have changed, as printed by ``tollgate features late --json``.

    At most ``records_at_most`` records of cards with late payments are scored again, by partition; ``records_left_out`` is the
    number of the others. ``entries_recomputed`` are computed again; all other entries keep the values that were served.
    Raises:
        LedgerUnreachable: the broker does not answer, or stops answering. NoModel: no live bundle can be loaded.
    """
    first, end = whole_log(settings.kafka, [FEATURES.name])
    ends = end_of(settings.kafka, [TRANSACTIONS.name])[TRANSACTIONS.name]
    lateness = Lateness()

    def look(batch: FeatureBatch) -> None:
        lateness.add(batch)

    say("reading features")
    read_span(settings.kafka, first, end, lambda raw: _each(raw, ends, look))
    kept: list[FeatureRecord] = []
    again = Lateness()
    left_out = 0

    def keep(batch: FeatureBatch) -> None:
        nonlocal left_out
        rows = again.add(batch)
        cards = rows.columns.card_id if rows else []
        wanted = [row for row, card in enumerate(cards) if card in lateness.cards]
        room = MAX_RECORDS - len(kept)
        if rows and wanted[:room]:
            kept.extend(rows.take(wanted[:room]).records())
        left_out += len(wanted[room:])

    out = {
        **lateness.figures(), "decisions_compared": 0, "features_changed": 0, "decisions_changed": 0,
        "records_at_most": MAX_RECORDS, "records_left_out": 0, "entries_recomputed": list(RECOMPUTED),
    }  # fmt: skip
    if not lateness.late:
        return {**out, "model_version": None}
    scorer = live_scorer(settings)
    say(f"reading the transactions of {len(lateness.cards)} cards with late payments")
    read_span(settings.kafka, first, end, lambda raw: _each(raw, ends, keep))
    if left_out:
        say(f"scoring only the first {MAX_RECORDS:,} of them again; {left_out:,} are left out")
    found = in_hindsight(kept, scorer, Layouts(stored_in(RespClient(settings.redis_address))))
    return {
        **out, "decisions_compared": found.compared, "features_changed": found.features_changed,
        "decisions_changed": found.decisions_changed, "records_left_out": left_out, "model_version": scorer.version,
    }  # fmt: skip


def live_scorer(settings: Settings) -> Scorer:
    """The live bundle, verified and loaded.

    Raises:
        NoModel: no bundle is live, or it is refused.
    """
    live = [version for version, state in states(settings.bundles_dir, MODEL).items() if state == "live"]
    if not live:
        raise NoModel(f"no model is live under {settings.bundles_dir}: only the metrics count late payments")
    try:
        return Scorer(verified_bundle(settings, live[-1]), measure=False)
    except BundleRefused as error:
        raise NoModel(f"{live[-1]} could not be loaded: {error}") from error


def _each(records: list[Any], ends: dict[int, int], take: Callable[[FeatureBatch], None]) -> None:
    """Pass on the batches in records; ``ends``: of `transactions`, by partition."""
    for record in records:
        try:
            batch = decode_batch(record.value(), record.partition())
        except FeatureBatchError:
            # a value that is not a batch of features is skipped, as in scoring
            continue
        if batch.columns.offset[-1] < ends.get(batch.partition, 0):
            take(batch)
