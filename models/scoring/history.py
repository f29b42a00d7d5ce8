"""Score rows of a history table with one model: a score and a decision per row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from features.attributes import PREFIX
from features.catalogue import INDEX
from models.policy.policy import DECISIONS
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS, TableColumns
from models.scoring.scorer import Scorer
from models.training.dataset import FloatArray

SLICE = 4_096


def score_rows(history: pa.Table, matrix: FloatArray, scorer: Scorer) -> pa.Table:
    """One row per transaction, in the history's order: ids, score, decision, matched rules, model and policy version.

    A repeated transaction (same card, id, time and amount as an earlier one) has no features: its score is null and its
    decision is the policy's ``without_score``.

    Args:
        matrix: the rows' features, float32 (n, WIDTH).
    """
    own = TableColumns(
        {name: history[name].to_pylist() for name in history.column_names if name.startswith(PREFIX)}
    )
    whole = scorer.with_attributes(matrix, own)
    parts = [scorer.score(whole[start : start + SLICE]) for start in range(0, len(whole), SLICE)]
    scores = np.concatenate(parts) if parts else np.empty(0, np.float32)
    repeated = np.isnan(matrix[:, INDEX["amount"]])
    scores[repeated] = np.nan
    named = NUMBER_FIELDS | TEXT_FIELDS
    present = [name for name in history.column_names if name in named or name.startswith(PREFIX)]
    columns = TableColumns({name: history[name].to_pylist() for name in present})
    codes, rules = scorer.policy.decide(scores, matrix, columns)
    return pa.table(
        {
            "transaction_id": history["transaction_id"],
            "card_id": history["card_id"],
            "event_time": history["event_time"],
            "score": pa.array(scores, mask=repeated),
            "decision": pa.array(np.array(DECISIONS, dtype=object)[codes], pa.string()),
            "rules": pa.array([";".join(names) for names in rules], pa.string()),
            "model_version": pa.array([scorer.version] * len(scores), pa.string()),
            "policy_version": pa.array([scorer.policy.version] * len(scores), pa.string()),
        }
    )
