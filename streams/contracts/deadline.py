"""What deadline a caller may ask for, in a header of HTTP or of a Kafka record, or in the settings. Milliseconds."""

from __future__ import annotations

#: without a word from the caller
DEFAULT_DEADLINE_MS = 100
#: on Kafka 0 is allowed too: no deadline, for backlogs and replays
MIN_DEADLINE_MS, MAX_DEADLINE_MS = 1, 10_000
