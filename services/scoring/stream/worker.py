"""The stream deployment's worker: `features` in, `decisions` out, exactly one per transaction.

Nothing else writes `decisions`. Partition p of `features` goes to partition p of `decisions`, in order; each decision carries
the offset of its `features` row in a header. On assignment the worker reads the newest of these offsets from `decisions[p]`, and drops
rows at or below it as duplicates. Decision 1 says why it uses no Kafka transactions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from features.transaction import Transaction
from models.decision import Decision
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.decision.deadline import GATHER_S
from services.scoring.decision.decider import Case
from services.scoring.model.live import LiveModel
from services.scoring.stream.decided_tail import TailUnreadable, decided_rows
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.json_encoding import encode
from streams.log.feature_batch import (
    FeatureBatch,
    FeatureBatchError,
    decode_batch,
)
from streams.log.offsets.source_ends import SourceEnd, SourceEnds
from streams.log.offsets.source_offsets import DecidedRows, ImpossibleOffset, check_batch
from streams.log.other_catalogues import ALL_KNOWN, Layouts, OtherCatalogue, own_block
from streams.log.records import (
    HEADER_ENTITIES,
    HEADER_NOBODY_WAITS,
    HEADER_SOURCE_OFFSET,
    encode_entities_of,
)
from streams.log.topics import DECISIONS as DECISIONS_TOPIC
from streams.log.topics import FEATURES, TRANSACTIONS
from streams.runtime.dead_letters import Consumed, consumed, dead_letter, send_dead_letter
from streams.runtime.heartbeat import Heartbeat
from streams.runtime.kafka.broker_loss import BrokersForgotten, remembering
from streams.runtime.kafka.clients import (
    AT_FLUSH,
    AcknowledgedProducer,
    DeliveryError,
    flush,
    is_record,
    new_consumer,
    new_producer,
)
from streams.runtime.kafka.log_reader import LedgerUnreachable
from streams.runtime.metrics import (
    DECISION_LATENCY,
    DECISIONS,
    DUPLICATES,
    STAGE_SECONDS,
    observe_many,
)
from streams.runtime.settings import Settings
from streams.runtime.skips import Skips
from streams.runtime.suspects import GUILTY_AFTER

logger = logging.getLogger(__name__)

GROUP = "scoring"
#: records decided as one batch; each has up to MAX_ROWS rows. Even if all must be tried one by one it takes less than FRESH_S
MAX_RECORDS = 4
#: below the consumer's session timeout (6 s): unsent records of a frozen replica expire before another replica gets its partitions
MESSAGE_TIMEOUT_MS = 5000
#: below the session timeout too: records fetched longer ago may belong to another replica by now
FRESH_S = 4.0
#: errors that a record with an invalid value causes; the decider itself handles a failing model
BAD_VALUE = (ValueError, OverflowError, TypeError, OSError)
COMMIT_EVERY_S = 1.0
REOPEN_FIRST_S, REOPEN_LAST_S = 0.2, 5.0
#: a consumer without an assignment for this long is replaced: librdkafka 2.16 does not always rejoin its group
#: after the broker was frozen for half a minute
UNASSIGNED_FOR_S = 60.0
#: after this long without a record, the broker is asked whether there are any: a consumer does not always notice that it lost its partitions
SILENT_S, WATERMARK_WITHIN_S = 30.0, 5.0


class FetchedTooLongAgo(Exception):
    """This replica was frozen between fetching and producing: another one may have decided the same records."""


class Stalled(Exception):
    """The partition has new records, but the consumer delivers none: it is stuck."""


class Unassigned(Exception):
    """This replica has had no assignment for too long: Kafka is unavailable, or the consumer is stuck."""


class Taken(NamedTuple):
    """A message, and its rows without the duplicates."""

    message: Message
    rows: FeatureBatch


class Decided(NamedTuple):
    """n rows with their transactions, and their decisions as JSON."""

    batch: FeatureBatch
    transactions: list[Transaction]
    values: list[Any]


class Refused(NamedTuple):
    """What cannot be decided: a record of `features` that cannot be read, or the transaction of one of its rows."""

    source: Consumed
    error: Exception


class StreamScorer:
    """One replica's worker thread; the health check reads ``alive``. It has a ``decider`` of its own unless given one."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        live: LiveModel,
        layouts: Layouts,
        stop: threading.Event,
        decider: ArmsDecider | None = None,
        source_end: SourceEnd | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._live = live
        self._layouts = layouts
        self._stop = stop
        self._decider = decider or ArmsDecider()
        self._source_end = source_end or SourceEnds(settings.kafka)
        self._heartbeat = heartbeat or Heartbeat()
        #: what was decided of each partition assigned to this replica
        self._seen: dict[int, DecidedRows] = {}
        #: this batch's decisions until the broker has acknowledged them, each with its time of receipt (ms since 1970); None: nobody
        #: waits, as in a replay
        self._unacknowledged: list[tuple[Decision, int | None]] = []
        #: errors that nobody has thought of, by partition and offset on `transactions` of the row that caused them
        self._failed: Counter[tuple[int, int]] = Counter()
        self._skips = Skips(settings.run_dir)
        self._done: dict[int, int] = {}
        self._committed_at = 0.0
        self._fetched_at = 0.0
        self._rebalances = 0
        #: when the last assignment ended; None while one holds, even an empty one
        self._unassigned_at: float | None = None
        #: when the last record came, or the broker was last asked; by partition the offset after the newest record read
        self._heard_at = 0.0
        self._read: dict[int, int] = {}
        #: set by the first assignment
        self.assigned = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for the worker to end after ``stop`` was set."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        pause = REOPEN_FIRST_S
        while not self._stop.is_set():
            self._heartbeat.moves()
            started = time.monotonic()
            try:
                self._session()
            except (
                DeliveryError,
                KafkaException,
                TailUnreadable,
                FetchedTooLongAgo,
                Unassigned,
                Stalled,
                BrokersForgotten,
                LedgerUnreachable,
            ) as error:
                pause = _next_pause(pause, time.monotonic() - started)
                logger.error("scoring stopped and restarts in %.1f s: %s", pause, error)
                self._stop.wait(pause)
            except (
                Exception
            ):  # top of the thread: a new session resumes from the log, a dead thread would decide nothing
                pause = _next_pause(pause, time.monotonic() - started)
                logger.exception("scoring failed and restarts in %.1f s", pause)
                self._stop.wait(pause)

    def _session(self) -> None:
        """Consume until stopped. A failed delivery ends the session; the next one reads from `decisions` where to resume."""
        producer = new_producer(
            self._settings.kafka, self._name, **{"message.timeout.ms": MESSAGE_TIMEOUT_MS, **AT_FLUSH}
        )
        consumer = new_consumer(
            self._settings.kafka,
            GROUP,
            **{
                "client.id": self._name,
                "fetch.wait.max.ms": 500,
                "queued.min.messages": 200,
                "queued.max.messages.kbytes": 16_384,
            },
            **remembering(),
        )
        self._seen, self._done, self._read = {}, {}, {}
        self._unassigned_at = self._heard_at = time.monotonic()
        consumer.subscribe(
            [FEATURES.name], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        try:
            while not self._stop.is_set():
                self._heartbeat.moves()
                messages = self._fetch(consumer)
                if messages:
                    self._handle(messages, producer)
                self._commit(consumer)
                self._check_assigned()
                self._check_stalled(consumer)
        finally:
            # drop unsent records before leaving the group: the next owner of the partition decides them
            producer.purge()
            consumer.close()

    def _fetch(self, consumer: Consumer) -> list[Message]:
        """Wait for one record, then collect more for GATHER_S: the processor sends a chunk partition by partition."""
        # taken before polling: a replica frozen during the poll wakes with records of a session that has ended
        self._fetched_at = time.monotonic()
        first = consumer.poll(0.1)
        if first is None:
            return []
        rebalances = self._rebalances
        messages = consumer.consume(MAX_RECORDS - 1, timeout=GATHER_S)
        if self._rebalances == rebalances:
            # after a rebalance the first record is another replica's, or is fetched again
            messages = [first, *messages]
        good = []
        for message in messages:
            error = message.error()
            if is_record(consumer, message):
                good.append(message)
                self._read[message.partition()] = message.offset() + 1
            elif error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaException(error)
            else:
                logger.warning("fetching records failed: %s", error.str())
        if good:
            self._heard_at = time.monotonic()
        return good

    def _handle(self, messages: list[Message], producer: AcknowledgedProducer) -> None:
        started = time.monotonic()
        self._unacknowledged.clear()
        taken: list[Taken] = []
        refused: list[Refused] = []
        positions: dict[int, int] = {}
        repeated = 0
        for message in messages:
            partition = message.partition()
            if partition not in self._seen:
                # revoked after the record was fetched
                continue
            positions[partition] = message.offset() + 1
            decided = self._seen[partition]
            try:
                batch = decode_batch(message.value(), partition)
                check_batch(batch, decided.highest, self._source_end)
            except (FeatureBatchError, ImpossibleOffset) as error:
                refused.append(Refused(consumed(message), error))
                continue
            skip = self._skips.of(FEATURES.name, partition).get(message.offset() or 0)
            if skip is not None:
                # its transactions are what the books count
                skipped = InvalidEvent(skip.reason, "", f"set aside by {skip.by}: {skip.why}")
                refused += [Refused(_transaction_of(batch[i : i + 1]), skipped) for i in range(len(batch))]
                continue
            rows = decided.fresh(batch)
            repeated += len(batch) - (len(rows) if rows else 0)
            if rows:
                taken.append(Taken(message, rows))
        if repeated:
            DUPLICATES.labels("scoring").inc(repeated)
        self._check_fresh()
        done, undecided = self._decide(taken)
        for bad in [*refused, *undecided]:
            self._check_fresh()
            _refuse(bad, producer)
        if refused or undecided:
            # a later decision of the same partition would hide a row whose dead letter is not there yet
            flush(producer, MESSAGE_TIMEOUT_MS / 1000 + 1)
        self._produce(done, producer)
        flush(producer, MESSAGE_TIMEOUT_MS / 1000 + 1)
        self._done.update(positions)
        _count(self._unacknowledged, time.time())
        STAGE_SECONDS.labels("scoring").observe(time.monotonic() - started)

    def _check_assigned(self) -> None:
        """Raises: Unassigned."""
        if self._unassigned_at is None:
            return
        unassigned_s = time.monotonic() - self._unassigned_at
        if unassigned_s > UNASSIGNED_FOR_S:
            raise Unassigned(
                f"no assignment for {unassigned_s:.0f} s: Kafka at {self._settings.kafka} is unavailable or slow"
            )

    def _check_stalled(self, consumer: Consumer) -> None:
        """Raises: Stalled; KafkaException when the broker does not answer."""
        now = time.monotonic()
        if now - self._heard_at < SILENT_S:
            return
        self._heard_at = now
        for partition in self._seen:
            place = TopicPartition(FEATURES.name, partition)
            found = consumer.get_watermark_offsets(place, timeout=WATERMARK_WITHIN_S)
            if found is None:
                raise Stalled(
                    f"Kafka at {self._settings.kafka} did not return the end offset of {place.topic}[{partition}]"
                )
            # before the first record of a partition, the present end is what the next check compares with
            if found[1] > self._read.setdefault(partition, found[1]):
                raise Stalled(
                    f"{place.topic}[{partition}] has records up to {found[1]}, but none was received for {SILENT_S:.0f} s"
                )

    def _check_fresh(self) -> None:
        """Raises: FetchedTooLongAgo."""
        age = time.monotonic() - self._fetched_at
        if age > FRESH_S:
            raise FetchedTooLongAgo(f"records fetched {age:.1f} s ago may be another replica's: not decided")

    def _decide(self, taken: list[Taken]) -> tuple[list[Decided], list[Refused]]:
        """Decided rows in order, and the rows whose values cause an error, with that error."""
        try:
            return self._decide_together([rows for _, rows in taken]), []
        except Exception as error:
            if len(taken) == 1 and len(taken[0].rows) == 1:
                self._check_guilty(taken[0].rows, error)
                logger.exception("a row cannot be decided and goes to the dead letters")
                return [], [Refused(_transaction_of(taken[0].rows), error)]
        # bisect: finding one bad row takes a logarithmic number of calls, not one per row
        decided, undecided = [], []
        for half in _halves(taken):
            done, bad = self._decide(half)
            decided += done
            undecided += bad
        return decided, undecided

    def _check_guilty(self, row: FeatureBatch, error: Exception) -> None:
        """Raises: ``error``, unless it is one that an invalid value causes, or the row has caused errors GUILTY_AFTER times."""
        if isinstance(error, BAD_VALUE):
            return
        place = (row.partition, row.columns.offset[0])
        self._failed[place] += 1
        if self._failed[place] < GUILTY_AFTER:
            # whatever it is may pass: a new session decides the row again
            raise error
        del self._failed[place]

    def _decide_together(self, batches: list[FeatureBatch]) -> list[Decided]:
        """Raises: one of BAD_VALUE when a row's values are invalid."""
        out = [
            Decided(batch, batch.transactions(), list(batch.columns.decided or [None] * len(batch)))
            for batch in batches
        ]
        cases: list[Case] = []
        blocks: list[npt.NDArray[np.float32]] = []
        other_catalogue: OtherCatalogue = {}
        for batch, transactions, values in out:
            rows = [row for row, value in enumerate(values) if value is None]
            if not rows:
                continue
            block, known = own_block(batch.catalogue, batch.vectors, self._layouts)
            if known is not ALL_KNOWN:
                other_catalogue.update(dict.fromkeys(range(len(cases), len(cases) + len(rows)), known))
            together = _cases(batch, transactions)
            if len(rows) < len(batch):
                block, together = block[rows], [together[row] for row in rows]
            blocks.append(block)
            cases += together
        if cases:
            matrix = np.concatenate(blocks) if len(blocks) > 1 else blocks[0]
            decisions = self._decider.decide(cases, matrix, self._live.serving, other_catalogue)
            encoded = map(encode, decisions)
            for _, _, values in out:
                values[:] = [next(encoded) if value is None else value for value in values]
            received = [case.received_ms if case.deadline_ms else None for case in cases]
            self._unacknowledged += zip(decisions, received, strict=True)
        return out

    def _produce(self, decided: list[Decided], producer: AcknowledgedProducer) -> None:
        for batch, transactions, values in decided:
            columns = batch.columns
            rows = zip(columns.offset, columns.deadline_ms, transactions, values, strict=True)
            for offset, deadline_ms, tx, value in rows:
                headers = [(HEADER_SOURCE_OFFSET, b"%d" % offset), (HEADER_ENTITIES, encode_entities_of(tx))]
                if not deadline_ms:
                    headers.append(HEADER_NOBODY_WAITS)
                # before each record: the process may freeze at any point, and reading the clock costs only 50 ns
                self._check_fresh()
                producer.produce(
                    DECISIONS_TOPIC.name,
                    key=tx.card_id,
                    partition=batch.partition,
                    value=value,
                    headers=headers,
                )

    def _commit(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if not self._done or now - self._committed_at < COMMIT_EVERY_S:
            return
        self._committed_at = now
        offsets = [
            TopicPartition(FEATURES.name, partition, offset) for partition, offset in self._done.items()
        ]
        consumer.commit(offsets=offsets, asynchronous=True)
        self._done.clear()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            self._seen[tp.partition] = decided_rows(self._settings, tp.partition)
        logger.info(
            "assigned, by partition the last offset decided: %s",
            {tp.partition: self._seen[tp.partition].highest for tp in partitions},
        )
        consumer.assign(partitions)
        self.assigned.set()
        self._rebalances += 1
        self._unassigned_at = None
        # reading the newest decisions may have taken seconds; records of these partitions are fetched only from now on
        self._fetched_at = time.monotonic()

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # every batch is flushed before the next poll, so revoked partitions are decided up to `_done`
        offsets = [
            TopicPartition(FEATURES.name, tp.partition, self._done[tp.partition])
            for tp in partitions
            if tp.partition in self._done
        ]
        try:
            if offsets:
                consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # harmless: the next owner reads the same offset from `decisions`
            logger.warning("offsets of revoked partitions were not committed: %s", error)
        self._forget(partitions)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        self._rebalances += 1
        self._unassigned_at = time.monotonic()
        for tp in partitions:
            self._seen.pop(tp.partition, None)
            self._read.pop(tp.partition, None)
            self._done.pop(tp.partition, None)


def _next_pause(pause_s: float, lasted_s: float) -> float:
    return REOPEN_FIRST_S if lasted_s > 60 else min(pause_s * 2, REOPEN_LAST_S)


def _halves(taken: list[Taken]) -> tuple[list[Taken], list[Taken]]:
    """Split a list of messages, or the rows of the only message, in two; in order."""
    if len(taken) > 1:
        return taken[: len(taken) // 2], taken[len(taken) // 2 :]
    ((message, rows),) = taken
    middle = len(rows) // 2
    return [Taken(message, rows[:middle])], [Taken(message, rows[middle:])]


def _cases(batch: FeatureBatch, transactions: list[Transaction]) -> list[Case]:
    columns = batch.columns
    times = (batch.event_ms, columns.appended_ms, columns.deadline_ms)
    return list(map(Case, transactions, *times, columns.missing, repeat(batch.catalogue)))


def _count(decided: Sequence[tuple[Decision, int | None]], now_s: float) -> None:
    """Count decisions that the broker acknowledged at ``now_s`` (seconds since 1970), where their latency ends.

    A backlog or a replay has no latency: nobody waits for it, and its age is no fault to page for.
    """
    # looking up a labelled counter costs as much as the rest of counting: do it once per kind of decision
    kinds = Counter((d.status, d.decision, d.arm, d.model_version) for d, _ in decided)
    for kind, count in kinds.items():
        DECISIONS.labels(*kind).inc(count)
    waited = [max(0.0, now_s - received_ms / 1000) for _, received_ms in decided if received_ms is not None]
    observe_many(DECISION_LATENCY, waited)


def _transaction_of(row: FeatureBatch) -> Consumed:
    """The only row's transaction as its record on `transactions`: the books count it there, and a person can mend and send it again."""
    try:
        value = encode(row.transactions()[0])
    except BAD_VALUE:
        value = None
    return Consumed(TRANSACTIONS.name, row.partition, row.columns.offset[0], value)


def _refuse(bad: Refused, producer: AcknowledgedProducer) -> None:
    """Send what cannot be decided to the dead letters."""
    error = bad.error
    if not isinstance(error, InvalidEvent):
        reason = "offset" if isinstance(error, ImpossibleOffset) else "poison"
        error = InvalidEvent(reason, "", f"no decision from its features: {error}")
    letter = dead_letter(bad.source, error, int(time.time() * 1000))
    send_dead_letter(producer, letter)
