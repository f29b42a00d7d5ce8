"""The stream worker with fakes for Kafka: what it decides, what it leaves to others, what it refuses; and its producer."""

from __future__ import annotations

import ctypes
import json
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import msgspec
import pytest
from confluent_kafka import KafkaException, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from models.bundle.content import load_bundle
from models.decision import Decision
from models.scoring.scorer import Scorer
from services.scoring.model.serving import NOTHING, Serving
from services.scoring.stream import worker as stream
from services.scoring.stream.worker import (
    FRESH_S,
    SILENT_S,
    UNASSIGNED_FOR_S,
    FetchedTooLongAgo,
    Stalled,
    StreamScorer,
    Unassigned,
)
from streams.contracts.transaction_parsing import parse_together, parse_transaction
from streams.log.feature_batch import FeatureRecord
from streams.log.offsets.source_offsets import DecidedRows
from streams.log.records import decode_entities, digest_of
from streams.runtime.kafka.clients import DeliveryError, flush, new_producer
from streams.runtime.settings import Settings
from tests.support.archive_samples import features
from tests.support.bundle_samples import publish_sample
from tests.support.catalogue_samples import UNKNOWN
from tests.support.feature_batches import decode_features, encode_features
from tests.support.stream_fakes import Message, Producer, assign
from tests.support.waiting import STALL_S


class Clock:
    """Time that passes only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def live() -> Any:
    """A live model without a bundle."""
    return SimpleNamespace(serving=NOTHING)


@pytest.fixture
def scorer(clock: Clock, live: Any, tmp_path: Path) -> StreamScorer:
    made = StreamScorer(Settings(home=str(tmp_path)), "test", live, UNKNOWN, threading.Event())
    assign(made, {0: -1, 1: -1})
    return made


def good(number: int, partition: int = 0) -> Message:
    return Message(number, features(number, partition).value, partition)


def changed(number: int, **fields: Any) -> Message:
    record = decode_features(features(number).value or b"")
    return Message(number, encode_features(msgspec.structs.replace(record, **fields)))


def handle(scorer: StreamScorer, producer: Producer, *messages: Message) -> None:
    fetched: Any = list(messages)
    to: Any = producer
    scorer._handle(fetched, to)


def test_decides_what_is_new_and_ours(scorer: StreamScorer) -> None:
    producer = Producer()
    handle(scorer, producer, good(0), good(1), good(1), good(0, partition=1))
    assert producer.decided == [(0, 0), (0, 1), (1, 0)]
    assert scorer._done == {0: 2, 1: 1}


def test_a_decision_says_whose_it_is_and_what_tells_its_transaction_from_another(
    scorer: StreamScorer,
) -> None:
    producer = Producer()
    handle(scorer, producer, good(0), good(1))
    for number, header in enumerate(producer.entities):
        tx = decode_features(features(number).value or b"").transaction
        told = decode_entities(header)
        assert (told.merchant_id, told.device_id, told.ip, told.customer_id) == (
            tx.merchant_id,
            tx.device_id,
            tx.ip,
            tx.customer_id,
        )
        assert told.digest == digest_of(tx)


def latency() -> tuple[float, float]:
    """What the metric of latency has counted: decisions, and their seconds together."""
    name = "tollgate_decision_latency_seconds"
    count, total = (REGISTRY.get_sample_value(f"{name}_{what}") for what in ("count", "sum"))
    return count or 0.0, total or 0.0


class SlowModel(Scorer):
    def score(self, matrix: Any) -> Any:
        time.sleep(0.15)
        return super().score(matrix)


class SlowBroker(Producer):
    def flush(self, _: float) -> int:
        time.sleep(0.05)
        return 0


def test_latency_ends_with_the_hand_over_in_the_record_and_with_the_acknowledgement_in_the_metric(
    scorer: StreamScorer, live: Any, tmp_path: Path
) -> None:
    live.serving = Serving(SlowModel(load_bundle(*publish_sample(tmp_path)), measure=False))
    producer, before = SlowBroker(), latency()
    received_ms = int(time.time() * 1000)
    handle(scorer, producer, changed(0, appended_ms=received_ms), changed(1, appended_ms=received_ms))
    took_ms = time.time() * 1000 - received_ms
    for value in producer.decisions:
        decided = msgspec.json.decode(value, type=Decision)
        assert 150 <= decided.latency_ms <= took_ms - 50
        told = decided.decided_at - decided.received_at
        assert told.total_seconds() * 1000 == pytest.approx(decided.latency_ms, abs=1)
    counted, total_s = latency()
    assert counted == before[0] + 2
    assert 0.2 * 2 <= total_s - before[1] <= took_ms / 1000 * 2


def test_a_replay_has_no_latency_and_its_decisions_say_that_nobody_waits(scorer: StreamScorer) -> None:
    producer, before = Producer(), latency()
    handle(
        scorer, producer, changed(0, deadline_ms=0), changed(1, deadline_ms=100), changed(2, deadline_ms=0)
    )
    assert producer.nobody_waits == [True, False, True]
    assert latency()[0] == before[0] + 1


def test_what_the_broker_did_not_acknowledge_is_not_counted(scorer: StreamScorer, clock: Clock) -> None:
    producer, before = Producer(), latency()

    def passes(_: float) -> int:
        clock.now += 10
        return 1

    producer.flush = passes  # type: ignore[method-assign]
    with pytest.raises(DeliveryError):
        handle(scorer, producer, good(0))
    assert latency() == before
    assert not scorer._done


PAYMENTS = st.fixed_dictionaries(
    {
        "event_time": st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)),
        "amount_minor": st.integers(0, 10**9), "currency": st.sampled_from(["EUR", "USD"]),
        "mcc": st.none() | st.sampled_from(["5411", "4829"]), "channel": st.none() | st.sampled_from(["pos", "ecom"]),
        "country": st.none() | st.sampled_from(["FR", "DE"]), "latitude": st.none() | st.integers(-900_000, 900_000).map(lambda n: n / 10_000),
        "longitude": st.none() | st.integers(-180, 180),
    }
)  # fmt: skip


@settings(deadline=None)
@given(one=PAYMENTS, other=PAYMENTS, hours=st.integers(-12, 14))
def test_however_a_transaction_is_written_the_edge_and_the_stream_have_one_digest(
    one: dict[str, Any], other: dict[str, Any], hours: int
) -> None:
    names = {"transaction_id": "t", "card_id": "c", "merchant_id": "m"}

    def written(fields: dict[str, Any], hours: int) -> bytes:
        moment = fields["event_time"].replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
        return json.dumps(names | fields | {"event_time": moment.isoformat()}).encode()

    # the stream's way: one by one, then through a features record
    record = decode_features(features(0).value or b"")
    tx = parse_transaction(written(one, 0))
    sent = msgspec.structs.replace(record, transaction=tx, event_ms=tx.event_ms)
    streamed = decode_features(encode_features(sent)).transaction
    # the edge's way: in a batch
    together = parse_together([written(one, hours), written(other, hours)])
    assert together is not None
    again, another = together.transactions
    assert digest_of(again) == digest_of(streamed)
    assert (digest_of(another) == digest_of(streamed)) == (one == other)


def test_a_partition_that_was_taken_away_after_the_fetch_is_left_to_its_new_owner(
    scorer: StreamScorer,
) -> None:
    producer = Producer()
    consumer: Any = None
    scorer._lost(consumer, [TopicPartition("features", 1)])
    handle(scorer, producer, good(0, partition=1), good(0))
    assert producer.decided == [(0, 0)]
    assert scorer._done == {0: 1}
    assert 1 not in scorer._seen


def test_frozen_between_fetch_and_decision_decides_nothing(scorer: StreamScorer, clock: Clock) -> None:
    producer = Producer()
    clock.now += FRESH_S + 0.1
    with pytest.raises(FetchedTooLongAgo):
        handle(scorer, producer, good(0), Message(1, b"\xff"))
    assert not producer.decided
    assert not producer.letters
    assert not scorer._done


def test_frozen_while_deciding_or_producing_sends_nothing_more(
    scorer: StreamScorer, live: Any, clock: Clock, tmp_path: Path
) -> None:
    producer = Producer()

    def freeze() -> None:
        clock.now += FRESH_S + 0.1

    producer.before = freeze
    with pytest.raises(FetchedTooLongAgo):
        handle(scorer, producer, good(0), good(1))
    assert producer.decided == [(0, 0)]

    class Freezing(Scorer):
        def score(self, matrix: Any) -> Any:
            freeze()
            return super().score(matrix)

    live.serving = Serving(Freezing(load_bundle(*publish_sample(tmp_path)), measure=False))
    producer = Producer()
    assign(scorer, {0: -1})
    with pytest.raises(FetchedTooLongAgo):
        handle(scorer, producer, good(0))
    assert not producer.decided


class Consumer:
    """Polls one record; ``meanwhile`` runs inside the call after it."""

    def __init__(self, first: Message, rest: list[Message], meanwhile: Any = None) -> None:
        self._first, self._rest, self._meanwhile = first, rest, meanwhile

    def poll(self, _: float) -> Message:
        return self._first

    def consume(self, _: int, timeout: float) -> list[Message]:
        if self._meanwhile:
            self._meanwhile(self)
        return self._rest

    def assign(self, _: list[TopicPartition]) -> None:
        pass


def test_a_record_polled_before_a_rebalance_is_left_to_the_assignment_after_it(
    scorer: StreamScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "decided_rows", lambda *_: DecidedRows({}, 7))
    place = [TopicPartition("features", 0)]

    def rebalance(consumer: Any) -> None:
        scorer._revoked(consumer, place)
        scorer._assigned(consumer, place)

    quiet: Any = Consumer(good(5), [good(6)])
    assert [m.offset() for m in scorer._fetch(quiet)] == [5, 6]
    moved: Any = Consumer(good(5), [good(8)], rebalance)
    assert [m.offset() for m in scorer._fetch(moved)] == [8]
    assert scorer._seen[0].highest == 7


def test_a_refused_commit_does_not_keep_a_revoked_partition(scorer: StreamScorer) -> None:
    def commit(**_: Any) -> None:
        raise KafkaException("a session that is over")

    consumer: Any = SimpleNamespace(commit=commit)
    handle(scorer, Producer(), good(0), good(1), good(2))
    scorer._revoked(consumer, [TopicPartition("features", 0)])
    assert 0 not in scorer._seen


def test_a_consumer_that_lost_its_partitions_and_never_gets_any_is_given_up(
    scorer: StreamScorer, clock: Clock
) -> None:
    consumer: Any = SimpleNamespace(assign=lambda _: None)
    place = [TopicPartition("features", 0)]
    scorer._lost(consumer, place)
    clock.now += UNASSIGNED_FOR_S - 1
    scorer._check_assigned()
    clock.now += 2
    with pytest.raises(Unassigned, match="no assignment for 61 s"):
        scorer._check_assigned()
    # one replica too many has an assignment, of nothing: it waits, as long as it takes
    scorer._assigned(consumer, [])
    clock.now += 100 * UNASSIGNED_FOR_S
    scorer._check_assigned()


def test_a_consumer_that_hears_nothing_while_there_are_records_is_given_up(
    scorer: StreamScorer, clock: Clock
) -> None:
    ends = {0: 7, 1: 3}
    asked: list[int] = []

    def watermarks(place: TopicPartition, timeout: float) -> tuple[int, int]:
        asked.append(place.partition)
        return 0, ends[place.partition]

    newest: Any = Consumer(good(6), [])
    scorer._fetch(newest)
    consumer: Any = SimpleNamespace(get_watermark_offsets=watermarks)
    scorer._check_stalled(consumer)
    assert asked == []
    # a quiet time: all that there is was read, or was there from the start
    for _ in range(3):
        clock.now += SILENT_S
        scorer._check_stalled(consumer)
    assert asked == [0, 1] * 3
    ends[1] = 4
    clock.now += SILENT_S
    with pytest.raises(Stalled, match=r"features\[1\] has records up to 4"):
        scorer._check_stalled(consumer)


class Pauses(threading.Event):
    """A signal to stop, waits for which end at once; ``lengths``: how long they would have been, seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.lengths.append(timeout or 0.0)
        return self.is_set()


def test_whatever_ends_a_session_the_next_one_begins(
    live: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [
        RuntimeError("no such thing"),
        MemoryError(),
        FetchedTooLongAgo("late"),
        DeliveryError("gone"),
    ]
    begun: list[int] = []
    stop = Pauses()

    def new_consumer(*_: Any, **__: Any) -> Any:
        begun.append(1)
        if len(begun) <= len(failures):
            raise failures[len(begun) - 1]
        stop.set()
        return SimpleNamespace(subscribe=lambda *_, **__: None, close=lambda: None)

    monkeypatch.setattr(stream, "new_producer", lambda *_, **__: Producer())
    monkeypatch.setattr(stream, "new_consumer", new_consumer)
    worker = StreamScorer(Settings(home=str(tmp_path)), "test", live, UNKNOWN, stop)
    worker.start()
    worker.join(STALL_S)
    assert not worker.alive
    assert len(begun) == 5
    assert len(stop.lengths) == 4 and stop.lengths == sorted(stop.lengths)
    assert "RuntimeError: no such thing" in caplog.text


POISON = [
    b"\xff",
    b"",
    None,
    # a string that is not UTF-8 where the catalogue's name stands
    b"\x9b\xa2\xff\xfe" + b"\x00" * 10,
    msgspec.msgpack.encode(["x", "card 4111111111111111"]),
]


@pytest.mark.parametrize("value", POISON)
def test_what_is_no_features_record_becomes_a_dead_letter_and_stops_nothing(
    scorer: StreamScorer, value: bytes | None
) -> None:
    producer = Producer()
    handle(scorer, producer, good(0), Message(1, value), good(2))
    assert producer.decided == [(0, 0), (0, 2)]
    assert scorer._done == {0: 3}
    [letter] = producer.letters
    assert (letter.reason, letter.source_topic, letter.source_offset) == ("poison", "features", 1)
    original = letter.original_bytes()
    assert (original is None) == (value is None)
    assert b"4111111111111111" not in (original or b"")


def test_a_record_whose_values_allow_no_decision_becomes_a_dead_letter_alone(scorer: StreamScorer) -> None:
    producer = Producer()
    absurd = changed(1, appended_ms=1 << 60)
    elsewhere = changed(3, partition=1 << 40)
    handle(scorer, producer, good(0), absurd, good(2), elsewhere, good(4))
    assert producer.decided == [(0, 0), (0, 2), (0, 4)]
    assert sorted(letter.source_offset for letter in producer.letters) == [1, 3]
    decided = [msgspec.json.decode(value, type=Decision).transaction_id for value in producer.decisions]
    assert decided == ["tx-0", "tx-2", "tx-4"]
    assert scorer._done == {0: 5}


def batch(offset: int, *records: FeatureRecord) -> Message:
    """One message with many rows."""
    return Message(offset, encode_features(*records))


def row(number: int, **fields: Any) -> FeatureRecord:
    return msgspec.structs.replace(decode_features(features(number).value), **fields)


def test_rows_of_a_batch_are_decided_in_order_and_one_that_is_decided_keeps_its_decision(
    scorer: StreamScorer,
) -> None:
    producer = Producer()
    handle(scorer, producer, batch(0, row(0), row(1, decided=b"the edge's"), row(2)), batch(1, row(5)))
    assert producer.decided == [(0, 0), (0, 1), (0, 2), (0, 5)]
    assert producer.decisions[1] == b"the edge's"
    others = [producer.decisions[place] for place in (0, 2, 3)]
    assert [msgspec.json.decode(value)["transaction_id"] for value in others] == ["tx-0", "tx-2", "tx-5"]


def test_a_batch_of_which_some_rows_are_decided_goes_on_behind_them(scorer: StreamScorer) -> None:
    producer = Producer()
    assign(scorer, {0: 1})
    handle(scorer, producer, batch(0, row(0), row(1), row(2)), batch(1, row(1), row(2), row(3)))
    assert producer.decided == [(0, 2), (0, 3)]
    assert scorer._done == {0: 2}


def test_one_bad_row_costs_its_batch_nothing(scorer: StreamScorer) -> None:
    producer = Producer()
    rows = [row(number, appended_ms=1 << 60 if number in (3, 17) else 5) for number in range(20)]
    handle(scorer, producer, batch(7, *rows), batch(8, row(20)))
    assert producer.decided == [(0, number) for number in range(21) if number not in (3, 17)]
    # a person gets the transaction and its place on `transactions`, where the books count it
    assert [(letter.source_topic, letter.source_offset) for letter in producer.letters] == [
        ("transactions", 3), ("transactions", 17),
    ]  # fmt: skip
    kept = [parse_transaction(letter.original_bytes()) for letter in producer.letters]
    assert kept == [rows[3].transaction, rows[17].transaction]


def test_a_refused_row_is_a_dead_letter_before_anything_later_is_decided(scorer: StreamScorer) -> None:
    """Else a crash between the two would hide it: what is at or below the newest decision is taken for decided."""
    producer = Producer()
    order: list[str] = []
    produce, flush_all = producer.produce, producer.flush

    def produced(topic: str, *args: Any, **record: Any) -> None:
        order.append(topic)
        produce(topic, *args, **record)

    def flushed(*args: Any) -> int:
        order.append("flush")
        return flush_all(*args)

    producer.produce, producer.flush = produced, flushed  # type: ignore[method-assign]
    handle(scorer, producer, batch(7, row(0, appended_ms=1 << 60), row(1)))
    assert order == ["dead-letters", "flush", "decisions", "flush"]


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    bad=st.sets(st.integers(0, 20)),
    again=st.integers(0, 20),
)
def test_each_row_is_decided_once_or_refused_once(sizes: list[int], bad: set[int], again: int) -> None:
    """Whatever batches rows come in, whichever of them are bad, and from wherever they come again after a crash."""
    live: Any = SimpleNamespace(serving=NOTHING)
    worker = StreamScorer(Settings(home="/nowhere"), "test", live, UNKNOWN, threading.Event())
    assign(worker, {0: -1})
    rows = [row(number, appended_ms=1 << 60 if number in bad else 5) for number in range(sum(sizes))]
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    batches = [rows[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    batches += [part for part in (rows[again:], rows) if part]
    producer = Producer()
    handle(worker, producer, *(batch(place, *part) for place, part in enumerate(batches)))
    good = [number for number in range(len(rows)) if number not in bad]
    assert producer.decided == [(0, number) for number in good]
    assert len(producer.letters) == len(rows) - len(good)


def _fail_next_produce_request(producer: Any, error: int) -> None:
    """Let librdkafka's mock broker refuse one Produce request (its C interface; Python's has none)."""
    library = next((Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka-*"))
    lib = ctypes.CDLL(str(library))
    lib.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
    lib.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
    push = lib.rd_kafka_mock_push_request_errors_array
    push.argtypes = [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p]
    # a PyObject's head is two words; the client's handle follows
    handle = ctypes.c_void_p.from_address(id(producer) + 16).value
    push(lib.rd_kafka_handle_mock_cluster(handle), 0, 1, (ctypes.c_int * 1)(error))


MOCK = {"test.mock.num.brokers": 1, "log_level": 0}


def test_produce_and_flush_as_ever_and_no_warning_each_time(capfd: pytest.CaptureFixture[str]) -> None:
    producer = new_producer("", "test", **{**MOCK, "log_level": 4})
    for number in range(2000):
        producer.produce("t", key=str(number), value=b"x")
    flush(producer, 10)
    assert not producer.failures
    assert "gapless" not in capfd.readouterr().err


def test_a_refused_record_ends_the_producer_so_that_nothing_overtakes_it() -> None:
    producer = new_producer("", "test", **MOCK)
    producer.produce("t", partition=0, value=b"first")
    flush(producer, 10)
    message_size_too_large = 10
    _fail_next_produce_request(producer, message_size_too_large)
    producer.produce("t", partition=0, value=b"refused")
    with pytest.raises(DeliveryError, match="failed fatally"):
        flush(producer, 10)
    with pytest.raises(KafkaException) as raised:
        producer.produce("t", partition=0, value=b"later")
    assert raised.value.args[0].code() == confluent_kafka.KafkaError._FATAL


def test_a_record_never_expires_unless_asked_to() -> None:
    patient = new_producer("127.0.0.1:1", "test", log_level=0)
    patient.produce("t", value=b"x")
    with pytest.raises(DeliveryError, match="not acknowledged within"):
        flush(patient, 0.2)
    patient.purge()
    short = new_producer("127.0.0.1:1", "test", **{"log_level": 0, "message.timeout.ms": 50, "linger.ms": 1})
    short.produce("t", value=b"x")
    with pytest.raises(DeliveryError, match="timed out"):
        flush(short, 5)


def test_a_record_that_claims_an_offset_beyond_its_source_is_refused_and_hides_nobody(
    clock: Clock, live: Any, tmp_path: Path
) -> None:
    """`transactions` ends at 3. 2**62 is refused as a whole; one within a chunk's reach is decided, and the true ones after it too."""
    worker = StreamScorer(
        Settings(home=str(tmp_path)), "test", live, UNKNOWN, threading.Event(), source_end=lambda *_: 3
    )
    assign(worker, {0: -1})
    producer = Producer()
    beyond = Message(
        1, encode_features(msgspec.structs.replace(decode_features(features(9).value), offset=2**62))
    )
    near = Message(2, encode_features(msgspec.structs.replace(decode_features(features(8).value), offset=1)))
    handle(worker, producer, good(0), beyond, near, good(1), good(2), good(0))
    assert [offset for _, offset in producer.decided] == [0, 1, 1, 2]
    assert [json.loads(value)["transaction_id"] for value in producer.decisions] == [
        "tx-0",
        "tx-8",
        "tx-1",
        "tx-2",
    ]
    (letter,) = producer.letters
    assert (letter.reason, letter.source_topic, letter.source_offset) == ("offset", "features", 1)
    assert "which ends at 3" in letter.text
