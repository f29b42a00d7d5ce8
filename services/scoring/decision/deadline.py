"""How a decision spends its deadline (100 ms unless the caller sets another): every step's share, in one place.

A deadline starts at receipt: the broker's append to `transactions`, or the last byte of a request. The processor uses part of
it before scoring reads the record; ``streams/runtime/chunk/app.py`` sets how long it gathers records. Scoring divides what is left. A step
that would exceed its share is skipped, and the decision is ``degraded``. Steps are skipped in this order, which
``tests/unit/services/test_deadline.py`` checks:

1. the challenger's score in the shadow, which is made beside the decision and no part of it;
2. explanations: they are made only while enough time is left for everything after them;
3. features of merchants, devices and other entities whose state has not arrived in time (the card's state is read first);
4. all features: only the rules decide;
5. the decision: the edge answers 503 once the deadline has passed; the stream always decides, even late.

Names end in their unit. Nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

#: time left where there is no deadline (backlogs, replays)
UNLIMITED_MS = float("inf")
#: time for the reasons of such a batch: a replica must send a batch within seconds, or another replica may get its records
_WITHOUT_DEADLINE_MS = 500.0
#: default deadline of a batch request, as a multiple of that of a single transaction
BATCH_DEADLINES = 10

#: how long the stream waits for more records after the first, because the processor sends a chunk partition by partition
GATHER_S = 0.001
#: minimum interval between two sends from the edge to the broker: each set of records has a fixed cost in the broker, the processor and
#: scoring, which at 1,000/s is most of the cost per record
PUBLISH_PACE_S = 0.004
#: interval between two lookups of an id that another process is deciding
POLL_EVERY_S = 0.005
#: the edge's admission control counts an answer as late once it took this share of its caller's deadline
LATE_SHARE = 0.35

#: share of the time left that the edge may spend reading state, and its bounds: the upper bound grows with the rows,
#: because a large read takes longer
_STORE_SHARE, _STORE_MIN_S, _STORE_MAX_S, _STORE_MAX_S_A_ROW = 0.4, 0.002, 0.04, 0.0008
#: before a reply counts as missing, the event loop gets this long to read what has arrived
STORE_LISTEN_S = 0.001
#: a store that has been silent for this long gets no new reads until it answers
STORE_SILENT_S = 0.1

#: a model that explains a row within this time runs on the batch's own thread; a slower one on another thread, which the batch can stop
#: waiting for. On a busy machine, changing threads may itself take this long. It also bounds how long explanations block the edge's event loop
AT_ONCE_MS = 1.0
#: how long to wait for explanations, as a multiple of their share, while the reserve allows: a short stall of the machine
#: should not lose them
OVERRUN = 4.0


#: share of the time left for the challenger's score in the shadow, at most so much, while so much is left
_SHADOW_SHARE, _SHADOW_MAX_MS, _SHADOW_RESERVE_MS = 0.05, 5.0, 25.0
#: how long rows of a slow challenger's arm wait for it before the champion decides them; a stall of the machine must not make a
#: card change its arm
CHALLENGER_WITHIN_S = 0.05


def left_ms(deadline_ms: float, received_ms: float, now_ms: float) -> float:
    """Time left of a deadline, ms; ``UNLIMITED_MS`` when the deadline is 0. ``received_ms``, ``now_ms``: since 1970."""
    return deadline_ms - (now_ms - received_ms) if deadline_ms else UNLIMITED_MS


def store_wait_s(left: float, rows: int) -> float:
    """How long the edge waits for the state of ``rows`` transactions, seconds; ``left``: time left, ms."""
    longest_s = max(_STORE_MAX_S, _STORE_MAX_S_A_ROW * rows)
    return min(max(left / 1000 * _STORE_SHARE, _STORE_MIN_S), longest_s)


def shadow_share_ms(left: float) -> float:
    """How long a batch's decisions may be held up by the challenger's scores in the shadow, ms; ``left``: its shortest time left, ms."""
    if left == UNLIMITED_MS:
        return _WITHOUT_DEADLINE_MS
    if left <= _SHADOW_RESERVE_MS:
        return 0.0
    return min(left * _SHADOW_SHARE, _SHADOW_MAX_MS)


@dataclass(frozen=True)
class ExplanationShare:
    """Time for the reasons of one batch: the share ``of_left`` of the time left, at most ``max_ms``.

    They are made only while more than ``reserve_ms`` is left, for encoding and the broker's acknowledgement.
    """

    max_ms: float
    reserve_ms: float
    of_left: float = 0.05

    def spare_ms(self, left: float) -> float:
        """Time for reasons, ms, when ``left`` ms are left; zero or less: make none."""
        if left == UNLIMITED_MS:
            return _WITHOUT_DEADLINE_MS
        return min(left - self.reserve_ms, left * self.of_left, self.max_ms)

    def wait_s(self, left: float) -> float:
        """How long to wait for reasons that were started, seconds."""
        return min(left - self.reserve_ms, OVERRUN * self.spare_ms(left)) / 1000


#: approved transactions wait for the reasons of others in their batch; the steps after it take 2 to 6 ms. A tenth of the time left, because
#: the batch after a pause is large, and during an attack nearly all of its rows are explained
STREAM = ExplanationShare(max_ms=10.0, reserve_ms=10.0, of_left=0.1)
#: the same holds in a round of single requests; there the next step may first wait ``PUBLISH_PACE_S``
EDGE = ExplanationShare(max_ms=5.0, reserve_ms=20.0)
#: a large request delays no others, and its default deadline is a second
EDGE_ALONE = ExplanationShare(max_ms=50.0, reserve_ms=20.0)
