"""What somebody who may write to Kafka, but has no key, or the wrong one, sends to the rollout process and to those who follow it."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from models.rollout.transitions import RolloutRequest
from services.cli.main import run
from services.rollout.guard import Guard
from services.rollout.process import Rollout
from services.rollout.requests import RolloutTimeout, ask
from streams.access.directory import change_directory, without_member
from streams.access.identity import acting, add_person, key_file, service
from streams.access.roles import Role
from streams.access.signatures import signed
from streams.access.signed_record import Signed, headers, received
from streams.contracts.rollout import RolloutRecord
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts.feed import follow_rollouts, newest_rollout, read_all
from streams.log.topics import AUDIT, ROLLOUT_REQUESTS, ROLLOUTS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.metrics import FORGERIES
from streams.runtime.skips import Skip, Skips
from tests.support.metric_values import total
from tests.support.rollout_stack import NOW, RolloutStack
from tests.support.waiting import STALL_S, until

MODEL = "fraud"


def request(action: str = "approve", version: str | None = "1.0.0", **more: object) -> RolloutRequest:
    fields = {"request_id": "r", "by": "ada", "why": "", "requested_at": NOW, **more}
    return RolloutRequest(action=action, model=MODEL, version=version, **fields)  # type: ignore[arg-type]


def record(version: str, sequence: int) -> RolloutRecord:
    return RolloutRecord(
        model=MODEL, champion=version, previous=None, arms={"champion": version}, traffic={"champion": 1.0}, state="live",
        approved_by="mallory", why="", since=NOW, sequence=sequence,
    )  # fmt: skip


def write(stack: RolloutStack, topic: str, *records: Signed | None) -> None:
    """Produce to the model's key; None is a tombstone."""
    producer = new_producer(stack.settings.kafka, "mallory")
    for one in records:
        value, more = (None, []) if one is None else (one.value, headers(one))
        producer.produce(topic, value, MODEL.encode(), headers=more)
    flush(producer, 20)


def refused(what: str) -> float:
    return total(FORGERIES, what=what)


@pytest.fixture
def live(rollout_stack: RolloutStack) -> Rollout:
    """1.1.0 is live after 1.0.0; 1.2.0 was rejected."""
    rollout = Rollout(rollout_stack.settings, rollout_stack.ledger())
    for number, (action, version) in enumerate(
        (("approve", "1.0.0"), ("approve", "1.1.0"), ("reject", "1.2.0"))
    ):
        rollout_stack.publish(version)
        assert rollout.handle(rollout_stack.sign(request(action, version, request_id=str(number))), NOW)
    return rollout


def test_a_request_that_nobody_known_signed_changes_nothing(
    rollout_stack: RolloutStack, live: Rollout
) -> None:
    rollout_stack.publish("1.3.0")
    good = rollout_stack.sign(request(version="1.3.0"))
    folder = rollout_stack.settings.access_dir
    add_person(folder, "eve", "approver", by="root", now=NOW)
    eve = acting(folder, "eve", NOW)
    change_directory(folder, lambda known: without_member(known, "eve", "root", NOW))
    drift = service(folder, "drift", NOW)
    value, entries, before = good.value, rollout_stack.audit(), refused(ROLLOUT_REQUESTS.name)
    forged = [
        Signed(value),
        Signed(value, good.signed_by, b"x" * 64),
        Signed(value, good.signed_by, b"short"),
        Signed(value, "nobody", good.signature),
        Signed(value.replace(b"1.3.0", b"1.2.0"), good.signed_by, good.signature),
        signed(eve, ROLLOUT_REQUESTS.name, value),
        # for another topic
        signed(acting(folder, None, NOW), ROLLOUTS.name, value),
    ]
    for one in forged:
        assert not live.handle(one, NOW)
    assert refused(ROLLOUT_REQUESTS.name) - before == len(forged)
    # a service is known, but may not approve: answered and audited
    assert live.handle(
        signed(drift, ROLLOUT_REQUESTS.name, encode(request(version="1.3.0", by="drift", request_id="s"))),
        NOW,
    )
    assert rollout_stack.states()["1.3.0"] == "awaiting approval"
    # one entry for all forgeries of a minute, one for the service
    assert rollout_stack.audit() == entries + 2
    live.handle(forged[0], NOW + timedelta(minutes=2))
    assert rollout_stack.audit() == entries + 3
    assert live.handle(good, NOW)
    assert rollout_stack.states()["1.3.0"] == "live"


ALL_ACTIONS = ("approve", "reject", "promote", "rollback")


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("analyst", set()),
        ("reviewer", {"reject"}),
        ("approver", set(ALL_ACTIONS)),
        ("operator", set(ALL_ACTIONS)),
        ("admin", set(ALL_ACTIONS)),
    ],
)
def test_a_role_may_do_what_the_table_says(
    rollout_stack: RolloutStack, live: Rollout, role: Role, allowed: set[str]
) -> None:
    add_person(rollout_stack.settings.access_dir, "eve", role, by="root", now=NOW)
    rollout_stack.publish("1.3.0")
    rollout_stack.publish("1.4.0")
    done = set()
    for action, version in (
        ("reject", "1.3.0"),
        ("approve", "1.4.0"),
        ("promote", "1.0.0"),
        ("rollback", None),
    ):
        before = rollout_stack.states()
        asked = request(action, version, request_id=action, by="eve")
        assert live.handle(rollout_stack.sign(asked, "eve"), NOW)
        if rollout_stack.states() != before:
            done.add(action)
    assert done == allowed


def test_nobody_signs_for_another_or_with_an_old_or_future_date(
    rollout_stack: RolloutStack, live: Rollout
) -> None:
    add_person(rollout_stack.settings.access_dir, "eve", "approver", by="root", now=NOW)
    rollout_stack.publish("1.3.0")
    for number, more in enumerate(
        (
            {"by": "eve"},
            {"requested_at": NOW - timedelta(hours=25)},
            {"requested_at": NOW + timedelta(hours=1)},
        )
    ):
        assert live.handle(rollout_stack.sign(request(version="1.3.0", request_id=f"x{number}", **more)), NOW)
    assert rollout_stack.states()["1.3.0"] == "awaiting approval"


def test_a_signature_of_another_stack_does_not_count(rollout_stack: RolloutStack, live: Rollout) -> None:
    rollout_stack.publish("1.3.0")
    mine = acting(rollout_stack.settings.access_dir, None, NOW)
    elsewhere = dataclasses.replace(mine, stack="0123456789abcdef")
    assert not live.handle(signed(elsewhere, ROLLOUT_REQUESTS.name, encode(request(version="1.3.0"))), NOW)


@contextmanager
def following(stack: RolloutStack) -> Iterator[list[RolloutRecord]]:
    told: list[RolloutRecord] = []
    stop = threading.Event()
    thread = follow_rollouts(stack.settings, stop, told.append)
    try:
        yield told
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def test_replicas_take_only_newer_records_of_the_rollout_process(
    rollout_stack: RolloutStack, live: Rollout
) -> None:
    folder = rollout_stack.settings.access_dir
    first = next(received(m) for m in read_all(rollout_stack.settings, ROLLOUTS.name, timeout_s=20))
    person = acting(folder, None, NOW)
    rejected = encode(record("1.2.0", 3))
    before = refused(ROLLOUTS.name)
    with following(rollout_stack) as told:
        until(lambda: told, STALL_S, "the newest record")
        forged = [
            Signed(rejected),
            # signed by a person: only the rollout process writes it
            signed(person, ROLLOUTS.name, rejected),
            Signed(rejected, first.signed_by, first.signature),
            Signed(b"\xff" * 40, "rollout", b"x" * 64),
        ]
        # then what was once true, and nothing at all
        write(rollout_stack, ROLLOUTS.name, *forged, first, None)
        assert live.handle(rollout_stack.sign(request("rollback", None, request_id="back")), NOW)
        until(lambda: len(told) == 2, STALL_S, "the rollback")
    assert [(one.champion, one.sequence) for one in told] == [("1.1.0", 2), ("1.0.0", 3)]
    assert refused(ROLLOUTS.name) - before == len(forged)
    newest = newest_rollout(rollout_stack.settings, MODEL)
    assert newest is not None and newest.champion == "1.0.0"


def test_a_topic_that_lost_the_newest_record_gets_it_back(rollout_stack: RolloutStack, live: Rollout) -> None:
    """Compaction keeps the last record of a key: if that is a stranger's, the true one is gone for who starts later."""
    first = next(received(m) for m in read_all(rollout_stack.settings, ROLLOUTS.name, timeout_s=20))
    ledger = rollout_stack.ledger()
    guard = Guard(rollout_stack.settings.kafka, ledger)
    moment = iter(range(10_000))

    def last() -> Signed:
        guard.look(next(moment))
        return [received(m) for m in read_all(rollout_stack.settings, ROLLOUTS.name, timeout_s=20)][-1]

    try:
        for stranger in (Signed(b"nonsense"), first, None):
            write(rollout_stack, ROLLOUTS.name, stranger)
            until(
                lambda: ledger.is_newest(MODEL, last().value),
                STALL_S,
                "the newest record, once more",
                look_s=0.2,
            )
    finally:
        guard.close()
    with following(rollout_stack) as told:
        until(lambda: told, STALL_S, "the record in force")
    assert told[0].champion == "1.1.0"


def test_a_new_key_of_the_rollout_process_takes_over(rollout_stack: RolloutStack, live: Rollout) -> None:
    folder = rollout_stack.settings.access_dir
    key_file(folder, "rollout").unlink()
    again = Rollout(rollout_stack.settings, rollout_stack.ledger())
    assert newest_rollout(rollout_stack.settings, MODEL) is None, "what the old key signed counts no more"
    assert again.serve_first(NOW) == "1.1.0"
    newest = newest_rollout(rollout_stack.settings, MODEL)
    # replicas that have seen sequence 2 take it
    assert newest is not None and (newest.champion, newest.sequence) == ("1.1.0", 3)


def test_the_command_believes_only_the_rollout_process(rollout_stack: RolloutStack, live: Rollout) -> None:
    """An answer that a stranger writes to `audit` is not taken for one."""
    stop = threading.Event()

    def lie() -> None:
        while not stop.wait(0.05):
            write(
                rollout_stack,
                AUDIT.name,
                Signed(b'{"result":"accepted","request_id":"r","detail":{"sequence":9}}'),
            )

    thread = threading.Thread(target=lie)
    thread.start()
    try:
        with pytest.raises(RolloutTimeout):
            ask(rollout_stack.settings, "rollback", MODEL, None, why="", now=NOW, timeout_s=2.0)
    finally:
        stop.set()
        thread.join(60)


def test_people_who_come_and_go_are_on_the_audit_once(
    rollout_stack: RolloutStack, live: Rollout, capsys: pytest.CaptureFixture[str]
) -> None:
    rollout_stack.settings.save()
    home = rollout_stack.settings.home
    assert run(["access", "add", "eve", "--role", "approver", "--home", home]) == 0
    assert run(["access", "revoke", "eve", "--home", home]) == 0
    for _ in range(2):
        live.note_access(NOW)
        Rollout(rollout_stack.settings, rollout_stack.ledger()).note_access(NOW)
    Skips(rollout_stack.settings.run_dir).add(
        Skip("transactions", 0, 7, "it ends the processor", "eve", NOW.isoformat())
    )
    for _ in range(2):
        live.note_skips(NOW)
    capsys.readouterr()
    assert run(["audit", "list", "--home", home, "--json"]) == 0
    said = [
        (e["action"], e["detail"]["name"])
        for e in json.loads(capsys.readouterr().out)
        if "name" in e["detail"]
    ]
    assert said[-3:] == [
        ("access add", "eve"),
        ("access revoke", "eve"),
        ("skip", "transactions/0/7"),
    ] and len(set(said)) == len(said)
    assert run(["audit", "verify", "--home", home, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["first_bad"], told["entries"]) == (True, None, rollout_stack.audit())
    write(rollout_stack, AUDIT.name, Signed(b"{}"))
    assert run(["audit", "verify", "--home", home]) == 1
    assert "it is no signed entry" in capsys.readouterr().out
