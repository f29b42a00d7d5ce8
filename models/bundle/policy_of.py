"""A bundle's content with another policy: what depends on the policy changes with it."""

from __future__ import annotations

from dataclasses import replace

from features.vector_layouts import OWN, aligned_columns
from models.bundle.content import BundleContent
from models.policy.policy import Policy


def with_policy(content: BundleContent, policy: Policy) -> BundleContent:
    """The same model under ``policy``; the drift reference has the decisions that it gives by scores and features."""
    reference = content.reference
    # rules read attributes from the transaction, not from its row
    matrix = aligned_columns(reference.matrix, OWN.places_in(content.layout))
    codes, _ = policy.decide(reference.scores, matrix)
    return replace(content, policy=policy, reference=replace(reference, decisions=codes))
