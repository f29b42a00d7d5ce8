"""Computes features and decisions of one round. Reads state, never writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH
from features.kernels.columns import columns_of
from features.kernels.payer import DUPLICATE, NEW
from features.profile.codec import ProfileError
from features.store.profiles.batch import Gather, StoreRefused
from features.store.state_versions import is_whole
from features.transaction import Transaction
from services.scoring.arms.arms_decider import ArmsDecider, ArmsJudged
from services.scoring.decision.decider import Case
from services.scoring.edge.entries import Entry, entries_of
from services.scoring.model.serving import Serving
from streams.contracts.text.json_encoding import encode_many
from streams.log.edge_decision import encode_edge_decision, seal_decision
from streams.log.missing_inputs import blank, missing_in
from streams.log.records import MISSING_CARD
from streams.log.seal import Key


class Computed(NamedTuple):
    """Features of n entries. ``seen``: DUPLICATE where the card's recent payments already hold the transaction (its row has no
    meaning). POSSIBLE counts as new here, because ids that the index knows were sorted out before.
    """

    rows: npt.NDArray[np.float32]
    seen: npt.NDArray[np.uint8]
    missing: list[int]
    as_of: list[list[int]]
    frauds_as_of: list[int]

    def headers(
        self, rows: Sequence[int], decisions: Sequence[bytes], bodies: Sequence[bytes], key: Key
    ) -> list[bytes]:
        """Headers of published transactions: their decisions (JSON) and the features they were made from, sealed with ``key``.
        ``rows``: their indexes; ``bodies``: the records' values.
        """
        size = 4 * self.rows.shape[1]
        vectors = self.rows.tobytes()
        # a tuple instead of an EdgeDecision: it encodes to the same bytes
        return [
            seal_decision(
                key,
                body,
                encode_edge_decision(
                    (
                        decision, CATALOGUE_HASH, vectors[i * size : (i + 1) * size], self.as_of[i], self.missing[i],
                        self.frauds_as_of[i],
                    )
                ),
            )
            for i, decision, body in zip(rows, decisions, bodies, strict=True)
        ]  # fmt: skip


class Round(NamedTuple):
    """Input of one round: n entries, the indexes of those to decide, and Redis' replies about their entities."""

    entries: Sequence[Entry]
    chosen: Sequence[int]
    gather: Gather
    #: replies to ASK_WHOLE and the gather's commands, as many as arrived
    state: Sequence[Any]
    #: whether the ids were claimed; without claims a duplicate cannot be recognised
    claimed: bool


class Pending(NamedTuple):
    """A round with decisions, still without reasons. ``chosen``: indexes of the entries decided here."""

    work: Round
    computed: Computed
    chosen: list[int]
    seen: list[Entry]
    trouble: Exception | None
    judged: ArmsJudged | None


class Decided(NamedTuple):
    """Result of a round: entries with decision and header, ``seen`` ones that were published before, and an error of reading state."""

    entries: list[Entry]
    seen: list[Entry]
    trouble: Exception | None


def decide_round(work: Round, decider: ArmsDecider, serving: Serving, key: Key) -> Decided:
    """Compute and decide a round: ``judge_round``, then ``finish_round``."""
    return finish_round(judge_round(work, decider, serving), decider, key)


def judge_round(work: Round, decider: ArmsDecider, serving: Serving) -> Pending:
    """Compute a round, score it and apply the policy."""
    trouble: Exception | None = None
    answered = 0
    if work.state:
        try:
            work.gather.load(work.state[1:])
            # while state is rebuilt, or another version writes it, what is stored is incomplete
            answered = len(work.state) - 1 if is_whole(work.state[0]) else 0
        except (StoreRefused, ProfileError) as error:
            trouble = error
    computed = compute(work.entries, work.gather, answered)
    chosen, seen = list(work.chosen), []
    held = computed.seen == DUPLICATE
    if held.any():
        seen = [work.entries[i] for i in chosen if held[i]]
        chosen = [i for i in chosen if not held[i]]
    judged = None
    if chosen:
        cases = [
            Case(entry.transaction, entry.event_ms, int(entry.received_ms), entry.deadline_ms, computed.missing[i])
            for i, entry in ((i, work.entries[i]) for i in chosen)
        ]  # fmt: skip
        judged = decider.judge(cases, computed.rows[chosen], serving)
    return Pending(work, computed, chosen, seen, trouble, judged)


def finish_round(pending: Pending, decider: ArmsDecider, key: Key) -> Decided:
    """Add reasons, and set decision and header, sealed with ``key``, of each entry. Changes nothing else, so it may run in a thread."""
    work, computed, chosen, seen, trouble, judged = pending
    entries = [work.entries[i] for i in chosen]
    if judged is not None:
        decisions = decider.finish(judged)
        for case, decision in zip(judged.cases, decisions, strict=True):
            if not work.claimed or case.missing & MISSING_CARD:
                # a duplicate of the id cannot be recognised here; the processor still drops it later
                decision.degraded_by.append("idempotency")
                if decision.status == "scored":
                    decision.status = "degraded"
        documents = encode_many(decisions)
        headers = computed.headers(chosen, documents, [entry.body for entry in entries], key)
        for entry, decision, document, header in zip(entries, decisions, documents, headers, strict=True):
            entry.decision, entry.decision_json, entry.header = decision, document, header
    return Decided(entries, seen, trouble)


def compute(entries: Sequence[Entry], gather: Gather, answered: int) -> Computed:
    """Features of a round. ``answered``: how many of the gather's reads, from the first, have replies; features that need the others are NaN."""
    columns = columns_of(
        [entry.transaction for entry in entries], [entry.event_ms for entry in entries], [-1] * len(entries)
    )
    rows, seen = gather.compute(columns, apply=False)
    missing = [0] * len(entries)
    if answered < gather.reads:
        missing = missing_in(gather.unread(answered))
        for i in np.flatnonzero(missing):
            blank(rows[i], missing[i])
            if missing[i] & MISSING_CARD:
                seen[i] = NEW
    as_of = np.column_stack([gather.cards["offset"][gather.card_slots], gather.entity_as_of()])
    return Computed(rows, seen, missing, as_of.tolist(), gather.frauds_as_of().tolist())


def warm_kernels() -> None:
    """Compile the kernels, or load them from the cache; otherwise the first request would wait seconds for it."""
    transaction = Transaction(
        transaction_id="warm", event_time=datetime(2026, 1, 1, tzinfo=UTC), card_id="warm", merchant_id="warm",
        amount_minor=1, currency="EUR",
    )  # fmt: skip
    compute(entries_of([transaction], [transaction.event_ms], 0.0, 1), Gather([transaction]), 0)
