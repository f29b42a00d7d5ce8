"""A record of `decisions`: reading what the scoring replicas wrote, and what others may have written there."""

from __future__ import annotations

from models.decision import Decision
from streams.contracts.decoding import RecordDecoder

#: a decision has 1 kB, and 16 kB at most. It is copied into outcomes and into the index
MAX_DECISION_BYTES = 65_536

decode_decision = RecordDecoder(Decision, max_bytes=MAX_DECISION_BYTES)
