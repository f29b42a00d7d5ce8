"""Rounds of a fault on a running stack: traffic, the fault at a random moment, then the comparison; one line per fault."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaException, TopicPartition

from features.store.keys import GROUP, position_key
from features.store.redis_client import RespClient, StoreUnavailable
from features.transaction import epoch_ms
from loadtest.traffic.simulator import create_world
from loadtest.traffic.simulator.world import letters
from services.scoring.stream.decided_tail import TailUnreadable, decided_rows
from streams.log.topics import DECISIONS, ENTITIES, FEATURES, LABELS, TRANSACTIONS
from streams.runtime.kafka.log_reader import log_reader
from streams.runtime.settings import Settings, acting_as
from tests.faults.faults import Fault, ensure, inflict
from tests.faults.findings import Findings
from tests.faults.oracle import Oracle
from tests.faults.traffic import SCALE, Sending, Traffic

RATE = 2_000
#: seconds of traffic in a round, plus the time that a victim is frozen
SECONDS = 5.0
CARDS = 20_000
#: a busy machine may need this long for a backlog; a worker that has failed permanently takes longer
IDLE_WITHIN_S = 420.0
#: caught up: at most this many seconds of traffic are waiting
CAUGHT_UP_S = 0.5
#: records that arrive this long after the fault were certainly not handled by the killed worker
FELT_AFTER_S = 1.0
READS = {
    "processor": (TRANSACTIONS.name, ENTITIES.name),
    "labels": (LABELS.name, DECISIONS.name),
    # its progress is given by the transactions' offsets
    "scoring": (TRANSACTIONS.name,),
}
Say = Callable[[str], None]


@dataclass
class Result:
    """The result of the rounds of one fault."""

    fault: str
    rounds: int = 0
    findings: Findings = field(default_factory=Findings)
    recovery_s: list[float] = field(default_factory=list)
    bad_seeds: list[int] = field(default_factory=list)

    def add(self, found: Findings, recovery_s: float, seed: int) -> None:
        self.rounds += 1
        self.recovery_s.append(recovery_s)
        total = self.findings
        total.transactions += found.transactions
        total.counted += found.counted
        total.missing += found.missing
        total.doubled += found.doubled
        total.differing += found.differing
        total.examples += found.examples
        if not found.clean:
            self.bad_seeds.append(seed)

    @property
    def clean(self) -> bool:
        return self.findings.clean and self.findings.counted == self.findings.transactions


class Bench:
    """A stack under test. ``scoring``: also check decisions, labels and outcomes; then all processes must run."""

    def __init__(self, settings: Settings, *, scoring: bool, freeze_s: float, say: Say = print) -> None:
        self.settings, self.freeze_s, self._say = settings, freeze_s, say
        self._client = RespClient(settings.redis_address)
        self._scoring = scoring
        self._groups = ("processor", "labels") if scoring else ("processor",)
        # does not join the group: reads end offsets and the scoring group's committed offsets
        self._scorer = acting_as(settings, "scoring")
        self._reader = log_reader(self._scorer.kafka, **{"group.id": "scoring", "log_level": 0})
        self.oracle = Oracle(settings, scoring=scoring)
        self._world = create_world(7, CARDS)
        self._began_ms = epoch_ms(datetime.now(UTC) - timedelta(days=200))
        self._until_idle()
        # read earlier records without checking them
        self.oracle.look([])

    def close(self) -> None:
        self._reader.close()

    def run(self, fault: Fault, rounds: int, seed: int, *, everything: bool = True) -> Result:
        """Run rounds of one fault with seeds ``seed``, ``seed + 1``...; with ``everything`` the last one compares all profiles."""
        result = Result(fault.name)
        if self.settings.processors > 1:
            ensure(self.settings, "processor-1", running=fault.processors > 1)
        for number in range(rounds):
            self._round(fault, seed + number, result, everything and number == rounds - 1)
        return result

    def _round(self, fault: Fault, seed: int, result: Result, everything: bool) -> None:
        rng = random.Random(seed)
        # chosen by the seed, so that a single round can be repeated
        action = fault.actions[seed % len(fault.actions)]
        seconds = SECONDS + (self.freeze_s if action == "freeze" else 0.0)
        sending = Sending(
            RATE, seconds, seed, letters(time.time_ns() % 19**8, 8), self._next_ms(seconds), fault.misplaced, fault.labels
        )  # fmt: skip
        traffic = Traffic(
            acting_as(self.settings, "producer").kafka, self.settings.partitions, sending, self._world
        )
        # traffic continues while a victim is frozen and some time after
        moment = rng.uniform(1.0, SECONDS - 1.0)
        if action == "kill at the end":
            # no traffic follows the lost second: no later transaction may reveal the loss to the processor
            moment = SECONDS - rng.uniform(0.2, 0.8)
        traffic.start()
        self._until_sent(traffic, int(RATE * moment))
        inflicted = inflict(self.settings, fault, action, rng, self.freeze_s)
        recovery_s = self._recovered(fault.group, traffic, inflicted.began) - inflicted.began
        inflicted.over()
        traffic.finish(300.0)
        self._until_idle()
        found = self.oracle.look(traffic.ids, everything=everything)
        result.add(found, recovery_s, seed)
        self._say(
            f"{fault.name} seed {seed} ({action}): {found.transactions:,} transactions, {found.counted:,} features count, "
            f"{found.missing} missing, {found.doubled} doubled, {found.differing} differ, recovered in {recovery_s:.1f} s"
            + "".join(f"\n    {example}" for example in found.examples)
        )

    def positions(self, group: str) -> dict[tuple[str, int], int] | None:
        """The positions of a group's workers, from the store or the log; None while it does not answer."""
        places = [(topic, p) for topic in READS[group] for p in range(self.settings.partitions)]
        if group == "scoring":
            return self._decided(places)
        of = GROUP if group == "processor" else group
        keys = [position_key(*place, of) for place in places]
        try:
            values = self._client.call([("MGET", *keys)])[0]
        except StoreUnavailable:
            return None
        return {place: int(value or 0) for place, value in zip(places, values, strict=True)}

    def _decided(self, places: list[tuple[str, int]]) -> dict[tuple[str, int], int] | None:
        """The offset up to which each partition of transactions is decided, from the ends of `decisions`; None while Kafka is down."""
        try:
            return {(topic, p): decided_rows(self._scorer, p).highest + 1 for topic, p in places}
        except (KafkaException, TailUnreadable):
            return None

    def _behind(self, group: str) -> int | None:
        """Records that a group has not handled yet; None while Kafka or Redis is down."""
        positions, ends = self.positions(group), self._ends(group)
        if positions is None or ends is None:
            return None
        return sum(max(0, ends[place] - position) for place, position in positions.items())

    def _ends(self, group: str) -> dict[tuple[str, int], int] | None:
        """The end offsets of the topics that a group reads; None while Kafka is down."""
        places = [(topic, p) for topic in READS[group] for p in range(self.settings.partitions)]
        ends = {place: self._end(*place) for place in places}
        known = {place: end for place, end in ends.items() if end is not None}
        return known if len(known) == len(ends) else None

    def _end(self, topic: str, partition: int) -> int | None:
        try:
            return int(self._reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=5.0)[1])
        except KafkaException:
            return None

    def _until_sent(self, traffic: Traffic, rows: int) -> None:
        end = time.monotonic() + 120
        while traffic.sent < rows:
            assert time.monotonic() < end, f"{traffic.sent} of {rows} transactions sent within 120 s"
            time.sleep(0.01)

    def _recovered(self, group: str, traffic: Traffic, began: float) -> float:
        """The moment when the group had handled the records waiting FELT_AFTER_S after the fault, and had caught up with the traffic."""
        end = time.monotonic() + IDLE_WITHIN_S
        goal: dict[tuple[str, int], int] | None = None
        while True:
            # once all is sent nothing may be left waiting
            most = 0 if traffic.sent == traffic.sending.total else RATE * CAUGHT_UP_S
            now = time.monotonic()
            if goal is None and now - began >= FELT_AFTER_S:
                goal = self._ends(group)
            positions, behind = self.positions(group), self._behind(group)
            handled = goal and positions and all(positions[place] >= goal[place] for place in goal)
            if handled and behind is not None and behind <= most:
                return now
            assert now < end, f"{group} did not recover within {IDLE_WITHIN_S:g} s: {behind} behind"
            time.sleep(0.1)

    def _until_idle(self) -> None:
        """Wait until every group has handled all records, including those that the groups send each other."""
        end = time.monotonic() + IDLE_WITHIN_S
        calm = 0
        while calm < 3:
            behind = {group: self._behind(group) for group in self._groups}
            behind["scoring"] = self._undecided() if self._scoring else 0
            calm = calm + 1 if all(left == 0 for left in behind.values()) else 0
            assert time.monotonic() < end, f"not idle within {IDLE_WITHIN_S:g} s: {behind}"
            time.sleep(0.1)

    def _undecided(self) -> int | None:
        """Features records after the scoring group's committed offsets; None while Kafka is down."""
        ends = [self._end(FEATURES.name, p) for p in range(self.settings.partitions)]
        places = [TopicPartition(FEATURES.name, p) for p in range(self.settings.partitions)]
        try:
            committed = [max(0, place.offset) for place in self._reader.committed(places, timeout=5.0)]
        except KafkaException:
            return None
        if None in ends:
            return None
        return sum(max(0, (end or 0) - offset) for end, offset in zip(ends, committed, strict=True))

    def _next_ms(self, seconds: float) -> int:
        """Start each round after the previous one in event time, so that nothing is too late for its window."""
        start = self._began_ms
        self._began_ms += int(seconds * SCALE * 1000)
        return start


def table(results: list[Result]) -> str:
    """The results as a text table."""
    head = (
        "fault", "rounds", "transactions", "missing", "doubled", "state differs", "features that count",
        "recovery median s", "max s",
    )  # fmt: skip
    rows = [
        (
            r.fault, str(r.rounds), f"{r.findings.transactions:,}", str(r.findings.missing), str(r.findings.doubled),
            str(r.findings.differing), f"{r.findings.counted:,}", f"{statistics.median(r.recovery_s):.1f}",
            f"{max(r.recovery_s):.1f}",
        )
        for r in results
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    ]
    return "\n".join(lines)
