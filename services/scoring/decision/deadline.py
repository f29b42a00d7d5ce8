"""Where the time of a decision goes: every share of its deadline (100 ms unless the caller says otherwise), in one place.

A deadline runs from the moment of receipt: the broker's append on `transactions`, or the last byte of a request. The processor has
its part before scoring sees the record; it gathers records for as long as its own pace says (``streams/runtime/chunk/app.py``). What is left
of the deadline is handed on here, and a step that would overrun its share is left out. The decision is then ``degraded``, in this
order, which ``tests/unit/services/test_deadline.py`` holds:

1. explanations: they need a reserve and their own time to be left after everything else;
2. features of merchants, devices and other entities whose state has not come when the wait for the store ends (the card's comes first);
3. all features: rules alone decide;
4. no decision: the edge answers 503 when the deadline is over; the stream always decides, late rather than never.

Names end in their unit. Nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

#: time left of what has no deadline (backlogs, replays)
UNLIMITED_MS = float("inf")
#: what the reasons of such a batch may take: a replica must hand a batch over within seconds, or its records are another's
_WITHOUT_DEADLINE_MS = 500.0
#: of a batch request that names no deadline: so many times that of a single transaction
BATCH_DEADLINES = 10

#: the stream waits so long for more records after the first one, because the processor sends a chunk partition by partition
GATHER_S = 0.001
#: the edge sends to the broker at most once in so long: each set of records costs the broker, the processor and whoever reads after it a
#: round of their own, which at 1,000/s is most of what a record costs
PUBLISH_PACE_S = 0.004
#: a transaction that somebody else is deciding is looked up again after so long
POLL_EVERY_S = 0.005
#: an answer is late for the edge's admission control once it took this share of its caller's deadline
LATE_SHARE = 0.35

#: reading state at the edge may take this share of the time left, within bounds: a large read takes longer than a small one,
#: and where there is time left for it nobody is served by going on without
_STORE_SHARE, _STORE_MIN_S, _STORE_MAX_S, _STORE_MAX_S_A_ROW = 0.4, 0.002, 0.04, 0.0008
#: before a reply counts as missing, what has arrived is read for so long
STORE_LISTEN_S = 0.001
#: a store that has been silent for this long is not asked again before it has answered
STORE_SILENT_S = 0.1

#: a model that explains a row within this time does so on the batch's own thread; a slower one beside the batch, on a thread that can be
#: left behind. The change of threads itself may take as long on a busy machine. The edge's loop is held no longer either
AT_ONCE_MS = 1.0
#: explanations are waited for so many times as long as they may take, the reserve permitting: a machine that stood still for a moment
#: is no reason to lose them
_OVERRUN = 4.0


def left_ms(deadline_ms: float, received_ms: float, now_ms: float) -> float:
    """Time left of a deadline; ``UNLIMITED_MS`` where it is 0. Times of receipt and of now in ms since 1970."""
    return deadline_ms - (now_ms - received_ms) if deadline_ms else UNLIMITED_MS


def store_wait_s(left: float, rows: int) -> float:
    """How long the edge waits for the state of so many transactions, seconds; ``left`` in ms."""
    longest_s = max(_STORE_MAX_S, _STORE_MAX_S_A_ROW * rows)
    return min(max(left / 1000 * _STORE_SHARE, _STORE_MIN_S), longest_s)


@dataclass(frozen=True)
class ExplanationShare:
    """What the reasons of one batch may take: ``of_left`` of the time left, never more than ``max_ms``.

    They are made only while more than ``reserve_ms`` is left, for encoding and the way to the broker and back.
    """

    max_ms: float
    reserve_ms: float
    of_left: float = 0.05

    def spare_ms(self, left: float) -> float:
        """What they may take when ``left`` ms are left; zero or less where they are left out."""
        if left == UNLIMITED_MS:
            return _WITHOUT_DEADLINE_MS
        return min(left - self.reserve_ms, left * self.of_left, self.max_ms)

    def wait_s(self, left: float) -> float:
        """How long they are waited for once they are begun, seconds."""
        return min(left - self.reserve_ms, _OVERRUN * self.spare_ms(left)) / 1000


#: approved transactions of the same batch wait for the reasons of the others; what follows takes 2 to 6 ms. A tenth of the time left, because
#: the batch after a pause is a large one, and under an attack all of it is explained
STREAM = ExplanationShare(max_ms=10.0, reserve_ms=10.0, of_left=0.1)
#: so they do in a round of single requests; what follows begins with up to ``PUBLISH_PACE_S``
EDGE = ExplanationShare(max_ms=5.0, reserve_ms=20.0)
#: a large request of the edge holds up nobody else, and has a second
EDGE_ALONE = ExplanationShare(max_ms=50.0, reserve_ms=20.0)
