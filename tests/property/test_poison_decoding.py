"""No record stops a reader: 2,000 wrong versions of a real record of each topic, and the classics, through every process that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from faust.types import TP

from models.rollout.transitions import RolloutRequest
from streams.archive.writer import Archive
from streams.audit.balance import Accounts
from streams.contracts.decision import decode_decision
from streams.contracts.decoding import RecordDecoder
from streams.contracts.drift import DriftRow, decode_drift
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import Label, parse_label
from streams.contracts.retraining import RetrainingRequest, decode_retraining
from streams.contracts.rollout import RolloutRecord, decode_rollout
from streams.contracts.text.json_encoding import encode
from streams.contracts.transaction_parsing import parse_transaction, unknown_fields
from streams.drift.watch import DriftWatch
from streams.labels.sent_outcomes import keys_of
from streams.log.other_catalogues import Layouts
from streams.log.records import EntityItem, EntityItems, LabelStatement, Payment, encode_items
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import dead_letter, decode_dead_letter
from tests.support import archive_samples as samples
from tests.support.entity_stage import stage_in_memory
from tests.support.labels_worker import LabelsWorker
from tests.support.ledger_records import Record as LedgerRecord
from tests.support.mutations import CLASSICS, mutations
from tests.support.parity_world import MemoryLog, MemoryRedis, Record, Worker

MOMENT = samples.transaction(1, samples.START_MS).event_time
LABEL = Label(
    transaction_id="tx-1", label="fraud", label_time=MOMENT, source="chargeback", card_id="card-1", merchant_id="m-1",
    event_time=MOMENT,
)  # fmt: skip
ROLLOUT = RolloutRecord(
    model="fraud", champion="1.0.0", previous=None, arms={"champion": "1.0.0"}, traffic={"champion": 1.0}, state="live",
    approved_by="ada", why="", since=MOMENT, sequence=1,
)  # fmt: skip
REQUEST = RolloutRequest(
    request_id="r-1", action="approve", model="fraud", version="1.0.0", by="ada", why="", requested_at=MOMENT
)
RETRAINING = RetrainingRequest(
    model="fraud", reason="drift", evidence=[{"detector": "ks"}], data_from=MOMENT, data_to=MOMENT, requested_at=MOMENT,
    dedupe_key="k", cooldown_s=60.0, requested_by="drift",
)  # fmt: skip
DRIFT = DriftRow(
    detector="ks", feature="amount", window_start=MOMENT, window_end=MOMENT, rows=10, statistic=0.1, p_value=0.5, psi=0.1,
    severity="none", model_version="1.0.0", bundle_reference="x",
)  # fmt: skip
TRANSACTION = encode(samples.transaction(1, samples.START_MS))
DECISION = encode(samples.decision(1))
LETTER = encode(dead_letter(samples.decisions(1), InvalidEvent("not_json", "", "no"), 1))


def poison(record: bytes) -> list[bytes | None]:
    return [*CLASSICS, *mutations(record, 2_000)]


@pytest.mark.parametrize(
    ("decode", "record"),
    [
        (parse_transaction, TRANSACTION),
        (parse_label, encode(LABEL)),
        (decode_decision, DECISION),
        (decode_drift, encode(DRIFT)),
        (decode_retraining, encode(RETRAINING)),
        (decode_rollout, encode(ROLLOUT)),
        (RecordDecoder(RolloutRequest), encode(REQUEST)),
        (decode_dead_letter, LETTER),
    ],
    ids=[
        "transactions",
        "labels",
        "decisions",
        "drift",
        "retraining",
        "rollouts",
        "rollout-requests",
        "dead-letters",
    ],
)
def test_a_decoder_says_what_is_wrong_and_raises_nothing_else(
    decode: Callable[[bytes | None], Any], record: bytes
) -> None:
    refused = 0
    for value in poison(record):
        try:
            msgspec.to_builtins(decode(value))
        except InvalidEvent as error:
            assert error.reason and str(error)
            # what is refused can be kept
            letter = dead_letter(Record("t", 0, 0, 0, None, value, []), error, 0)  # type: ignore[arg-type]
            assert decode_dead_letter(encode(letter)).reason == error.reason
            refused += 1
    decode(record)
    assert refused > 1_000


def test_unknown_fields_of_what_parses_are_counted_or_refused() -> None:
    for value in poison(TRANSACTION):
        try:
            unknown_fields(value or b"", parse_transaction(value))
        except InvalidEvent:
            continue


def with_good(values: Iterable[bytes | None], good: bytes) -> list[bytes | None]:
    return [good, *values, good]


def test_the_processor_goes_on_beside_poison_on_transactions() -> None:
    log, redis = MemoryLog(), MemoryRedis()
    log.now_ms = samples.START_MS + 1_000
    worker = Worker(log, redis)
    for value in with_good(poison(TRANSACTION), TRANSACTION):
        log.produce("transactions", value=value)  # type: ignore[arg-type]
    while worker.behind():
        worker.step("transactions", 200)
        worker.step("entities", 200)
    assert log.records("features")
    letters = [decode_dead_letter(record.value) for record in log.records("dead-letters")]
    assert len(letters) > 1_000


def entity_records() -> list[bytes]:
    """As the processor and the labels worker write them."""
    log, redis = MemoryLog(), MemoryRedis()
    log.now_ms = samples.START_MS + 1_000
    worker = Worker(log, redis)
    tx = msgspec.structs.replace(
        samples.transaction(1, samples.START_MS), customer_id="cu-1", device_id="d-1"
    )
    log.produce("transactions", value=encode(tx), partition=1)
    log.produce("transactions", value=encode(tx), partition=0)
    for _ in range(4):
        worker.step("transactions", 10)
    columns = [record.value for record in log.records("entities")]
    payment = Payment(1, 2, 3, 4, None, 2.5, 1.0, None)
    items = [
        EntityItem("customer", "cu-1", "tx", 5, samples.START_MS, 100, 7, 0, payment),
        EntityItem(
            "merchant", "m-1", "label", 6, samples.START_MS, 0, 0, 1, None, LabelStatement("tx-1", 5, 6)
        ),
        EntityItem("card", "card-1", "declined", 7, samples.START_MS, 0, 0, 0),
    ]
    return [*columns, encode_items(EntityItems("labels", 0, items))]


def test_the_entity_stage_goes_on_beside_poison_on_entities() -> None:
    stage, _, log = stage_in_memory()
    offset = 0
    for good in entity_records():
        for start in range(0, 2_000, 250):
            values = [*CLASSICS, *mutations(good, 250, seed=start), good]
            records = [Record("entities", 0, offset + i, 1, None, v, []) for i, v in enumerate(values)]  # type: ignore[arg-type]
            tp = TP("entities", 0)
            stage.handle(Chunk("entities", records, {tp: offset + len(records)}, {tp: offset}))
            offset += len(records)
    letters = [decode_dead_letter(record.value) for record in log.records("dead-letters")]
    assert len(letters) > 1_000


@pytest.mark.parametrize("topic", ["labels", "decisions"])
def test_the_labels_worker_goes_on_beside_poison(topic: str) -> None:
    log, redis = MemoryLog(), MemoryRedis()
    worker = LabelsWorker(log, redis)
    good = {"labels": encode(LABEL), "decisions": DECISION}
    # a decision for the labels to meet, and a label for the decisions
    log.produce(
        "decisions" if topic == "labels" else "labels",
        value=good["decisions" if topic == "labels" else "labels"],
    )
    declined = DECISION.replace(b"approve", b"decline")
    for value in with_good(
        [*poison(good[topic]), *(mutations(declined, 500) if topic == "decisions" else ())], good[topic]
    ):
        log.produce(topic, value=value, headers=[("tollgate-entities", (value or b"")[:40])])  # type: ignore[arg-type]
    for _ in range(60):
        for name in ("decisions", "labels"):
            worker.step(name, 200)
    assert not worker.behind()
    assert log.records("dead-letters")


def no_layouts() -> Layouts:
    return Layouts(lambda _: None)


def test_readers_of_features_go_on_beside_poison(tmp_path: Path) -> None:
    good = samples.features(1).value or b""
    refused: list[str] = []
    archive = Archive(tmp_path, lambda _, text: refused.append(text), layouts=no_layouts())
    watch = drift_watch(tmp_path)
    values = with_good(poison(good), good)
    records = [samples.Record("features", 0, i, samples.START_MS, value) for i, value in enumerate(values)]
    for start in range(0, len(records), 100):
        archive.add(records[start : start + 100], 0.0)
        archive.flush_due(1e9)
        watch.add_features(records[start : start + 100], float(start))
    archive.close()
    assert refused


@pytest.mark.parametrize("topic", ["decisions", "outcomes"])
def test_readers_of_decisions_and_outcomes_go_on_beside_poison(topic: str, tmp_path: Path) -> None:
    good = getattr(samples, topic)(1).value
    refused: list[str] = []
    archive = Archive(tmp_path, lambda _, text: refused.append(text), layouts=no_layouts())
    watch = drift_watch(tmp_path)
    values = with_good(poison(good), good)
    records = [samples.Record(topic, 0, i, samples.START_MS, value) for i, value in enumerate(values)]
    for start in range(0, len(records), 100):
        archive.add(records[start : start + 100], 0.0)
        archive.flush_due(1e9)
        if topic == "decisions":
            watch.add_decisions(records[start : start + 100], float(start))
    archive.close()
    assert len(refused) > 500
    keys_of(values)


def drift_watch(folder: Path) -> DriftWatch:
    return DriftWatch("fraud", [], lambda *_: None, folder / "requests.json", no_layouts())


def test_the_books_are_kept_beside_poison() -> None:
    accounts = Accounts()
    for topic, good in (("transactions", TRANSACTION), ("decisions", DECISION), ("dead-letters", LETTER)):
        accounts.add([LedgerRecord(topic, (0, i), i, value) for i, value in enumerate(poison(good))])
    assert accounts.transactions == len(poison(TRANSACTION))
    # whoever claims what about them, the sums can be made
    assert accounts.balance().ingested > 0
