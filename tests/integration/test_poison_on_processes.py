"""Every process that follows a topic, beside poison on all of them: none ends, all come to the end of what they read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from infra import stack
from infra.stack.health.standing import positions
from streams.log.topics import DEAD_LETTERS, FEATURES, TRANSACTIONS
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.settings import Settings
from tests.attack.bystanders import send_to_all
from tests.attack.poison import FOLLOWED, bombs, pids, send
from tests.support.feature_batches import rows_in
from tests.support.mutations import CLASSICS, mutations
from tests.support.raw_batches import batch, record, send_batch
from tests.support.running import read_topic
from tests.support.waiting import STALL_S, until

PROCESSES = ("kafka", "redis", "processor-0", "labels-0", "archive-0", "rollout-0", "trainer-0")
#: batches in Zstandard of six kilobytes each, which are 200 MB
MANY = 20
GROUPS = ("processor", "labels", "rollout", "trainer")


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    settings = stack.settings_for(tmp_path_factory.mktemp("poison"), free_port_base())
    settings = stack.start(settings, only=PROCESSES, wait_s=180)
    try:
        yield settings
    finally:
        stack.stop(settings, purge=True)


def served(settings: Settings, wanted: set[str]) -> bool:
    """Whether the features of these transactions are made."""
    values = [
        message.value()
        for message in read_topic(settings, FEATURES.name, dict.fromkeys(range(settings.partitions), 0))
    ]
    return wanted <= {
        row.transaction.transaction_id for row in rows_in(v for v in values if v and v[:1] == b"\x96")
    }


def behind(settings: Settings) -> dict[Any, Any]:
    """The groups that have not read all."""
    return {
        place: (at.position, at.end)
        for place, at in positions(settings).items()
        if place[0] in GROUPS and at.position < at.end
    }


@pytest.mark.timeout(600)
def test_no_process_ends_and_all_go_on(processes: Settings) -> None:
    settings, before = processes, pids(processes)
    for topic, like in FOLLOWED.items():
        if topic != FEATURES.name:
            send(settings, topic, [*CLASSICS, b"x" * 900_000, *(mutations(like, 100) if like else ())])
    send(settings, TRANSACTIONS.name, [*CLASSICS, b"x" * 760_000])
    # one after the other they would keep a worker from saying that it lives, if a fetch took them all
    attacks = [*bombs(), *bombs()[1:2] * MANY]
    for partition in range(settings.partitions):
        odd = record(0, None, b"not json", [(b"\xff\xfe", b"v")])
        for raw in (batch([odd]), *attacks):
            send_batch(settings.kafka, TRANSACTIONS.name, partition, raw)
    sent = set(send_to_all(settings))
    until(lambda: served(settings, sent), STALL_S, "the features of the payments behind the poison")
    until(lambda: not behind(settings), STALL_S, "all groups to have read what there is")
    assert pids(settings) == before
    letters = [
        decode_dead_letter(message.value())
        for message in read_topic(settings, DEAD_LETTERS.name, {0: 0})
        if kept(message)
    ]
    # a record may be kept again: partitions that are assigned anew are read from the last commit on
    refused = {
        (letter.source_partition, letter.source_offset): letter.reason
        for letter in letters
        if letter.source_topic == TRANSACTIONS.name
    }
    reasons = Counter(refused.values())
    assert reasons["unreadable"] == settings.partitions * len(attacks)
    assert reasons["too_large"] >= settings.partitions
    # what asks for something must be signed: there, poison is refused as a forgery, not kept
    assert {"labels", "entities", "decisions"} <= {one.source_topic for one in letters}


def kept(message: Any) -> bool:
    """Whether a dead letter is one of the stack's: the test has written others there."""
    try:
        return bool(msgspec.json.decode(message.value() or b"", type=dict[str, Any]).get("first_seen"))
    except (ValueError, RecursionError):
        return False
