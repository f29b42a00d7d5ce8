"""The retry policy: exponential back-off with full jitter, never past the deadline. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """At most ``attempts`` calls; random pauses of up to ``first_s``, doubled each time, at most ``max_s``."""

    attempts: int = 6
    first_s: float = 0.02
    max_s: float = 1.0

    def pause_s(self, attempt: int, retry_after_s: float, left_s: float, draw: float) -> float | None:
        """Seconds to wait after the ``attempt``-th failure (from 1); None: give up.

        ``retry_after_s``, requested by the server, is waited in full plus jitter, so that callers refused at the same
        moment do not all return at the same moment. ``draw`` is uniform in [0, 1).
        Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        if attempt >= self.attempts:
            return None
        jitter_s = draw * min(self.max_s, self.first_s * 2 ** (attempt - 1))
        pause_s = retry_after_s + jitter_s
        return pause_s if pause_s < left_s else None


NEVER = Retry(attempts=1)
