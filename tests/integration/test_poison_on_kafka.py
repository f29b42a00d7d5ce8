"""A chunk worker on a broker, beside batches that nobody can read and a record that ends it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cramjam
import pytest

from streams.log.topics import DEAD_LETTERS, LABELS
from streams.runtime.dead_letters import DeadLetter, decode_dead_letter
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.kafka.log_reader import end_of, read_span
from streams.runtime.settings import Settings
from tests.support.chunk_worker import DEADLY
from tests.support.raw_batches import GZIP, ZSTD, batch, record, send_batch
from tests.support.running import read_topic, run_cli
from tests.support.waiting import STALL_S, until

TOPIC, PARTITION = LABELS.name, 0


class Worker:
    """One chunk worker after the other, as a supervisor would start them, from an offset of one partition on."""

    def __init__(self, settings: Settings, folder: Path, start: int) -> None:
        self._file = folder / "chunks.jsonl"
        self._file.touch()
        self._command = [
            sys.executable, "-m", "tests.support.chunk_worker", settings.home, f"poison-{time.monotonic_ns()}", TOPIC, "poison-0",
            str(self._file), json.dumps({PARTITION: start}),
        ]  # fmt: skip
        self.starts = 0
        self._start()

    def _start(self) -> None:
        self.starts += 1
        self._process = subprocess.Popen(self._command, cwd=Path(__file__).parents[2])

    def values(self) -> list[str]:
        """What was handled; a worker that has ended is started again."""
        if self._process.poll() is not None:
            assert self._process.returncode == 9
            assert self.starts < 8
            self._start()
        lines = self._file.read_text().split("\n")[:-1]
        records = [one for line in lines for one in json.loads(line)["records"]]
        return [one["value"] for one in records if one["partition"] == PARTITION]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(STALL_S)


@pytest.fixture
def world(kafka_redis: Settings, tmp_path: Path) -> Any:
    class World:
        settings = kafka_redis
        first = end_of(kafka_redis.kafka, [TOPIC])[TOPIC][PARTITION]
        letters_from = end_of(kafka_redis.kafka, [DEAD_LETTERS.name])[DEAD_LETTERS.name]

        def send(self, *values: bytes) -> None:
            producer = new_producer(kafka_redis.kafka, "test")
            for value in values:
                producer.produce(TOPIC, value=value, partition=PARTITION)
            flush(producer, 30)

        def letters(self) -> list[DeadLetter]:
            found = read_topic(kafka_redis, DEAD_LETTERS.name, self.letters_from)
            return [
                letter for one in found if (letter := decode_dead_letter(one.value())).source_topic == TOPIC
            ]

    return World()


def test_a_batch_that_nobody_can_read_is_set_aside_and_the_worker_goes_on(world: Any, tmp_path: Path) -> None:
    large = record(0, None, b"0" * 200_000_000)
    world.send(b"before")
    kafka = world.settings.kafka
    send_batch(kafka, TOPIC, PARTITION, batch([record(0, None, b"odd header", [(b"\xff", b"v")])]))
    bombs = {GZIP: gzip.compress(large), ZSTD: bytes(cramjam.zstd.compress(large))}
    for codec, raw in bombs.items():
        send_batch(kafka, TOPIC, PARTITION, batch([b""], codec=codec, compressed=raw))
    world.send(b"x" * 760_000, b"after")
    worker = Worker(world.settings, tmp_path, world.first)
    try:
        until(lambda: "after" in worker.values(), STALL_S, "the record after the bombs")
        assert worker.values() == ["before", "odd header", "x" * 760_000, "after"]
        assert worker.starts == 1
    finally:
        worker.close()
    letters = world.letters()
    assert [(letter.reason, letter.source_offset - world.first) for letter in letters] == [
        ("unreadable", 2), ("unreadable", 3),
    ]  # fmt: skip
    assert "67108864" in letters[0].text


def test_a_record_that_ends_its_worker_is_set_aside_after_three_times(world: Any, tmp_path: Path) -> None:
    before, after = [b"b%d" % n for n in range(100)], [b"a%d" % n for n in range(100)]
    world.send(*before, DEADLY, *after)
    worker = Worker(world.settings, tmp_path, world.first)
    try:
        until(lambda: "a99" in worker.values(), STALL_S, "the record after the deadly one")
        handled = worker.values()
        assert set(handled) == {value.decode() for value in (*before, *after)}
        assert worker.starts == 4
    finally:
        worker.close()
    (letter,) = world.letters()
    assert (letter.reason, letter.original_bytes()) == ("ended_worker", DEADLY)
    assert letter.source_offset == world.first + 100


def test_readers_of_spans_step_over_what_does_not_decompress(world: Any) -> None:
    """librdkafka takes at most 100 MB from a batch in Zstandard, and asks for it again and again."""
    large = bytes(cramjam.zstd.compress(record(0, None, b"0" * 200_000_000)))
    world.send(b"one")
    send_batch(world.settings.kafka, TOPIC, PARTITION, batch([b""], codec=ZSTD, compressed=large))
    world.send(b"two")
    values: list[bytes] = []
    end = end_of(world.settings.kafka, [TOPIC])[TOPIC][PARTITION]
    count = read_span(
        world.settings.kafka,
        {TOPIC: {PARTITION: world.first}},
        {TOPIC: {PARTITION: end}},
        lambda records: values.extend(one.value() for one in records),
    )
    assert (count, values) == (2, [b"one", b"two"])


def test_a_person_skips_a_record_and_its_worker_sets_it_aside(world: Any, tmp_path: Path) -> None:
    world.send(b"one", DEADLY, b"two")
    place = (TOPIC, str(PARTITION), str(world.first + 1))
    done = run_cli(world.settings, "skip", *place, "--why", "it stops the worker", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["offset"] == world.first + 1
    worker = Worker(world.settings, tmp_path, world.first)
    try:
        until(lambda: "two" in worker.values(), STALL_S, "the record after the skipped one")
        assert worker.values() == ["one", "two"]
        assert worker.starts == 1
    finally:
        worker.close()
    (letter,) = world.letters()
    assert (letter.reason, letter.original_bytes()) == ("skipped", DEADLY)
    assert "it stops the worker" in letter.text


@pytest.mark.parametrize(
    ("partition", "offset", "said"),
    [("9", "0", "has partitions 0 to"), ("0", "99999999", "has records from")],
)
def test_a_record_that_is_not_there_cannot_be_skipped(
    kafka_redis: Settings, partition: str, offset: str, said: str
) -> None:
    done = run_cli(kafka_redis, "skip", TOPIC, partition, offset, "--why", "x")
    assert done.returncode == 2
    assert said in done.stderr
