"""The archive: what it writes, and that a row is written once however it is interrupted."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.attributes import Attribute, Attributes
from features.catalogue import NAMES
from features.feast_repo.archived import SCHEMA, schema_with
from features.store.redis_client import StoreUnavailable
from features.vector_layouts import Layout
from streams.archive import writer
from streams.archive.manifest import Manifest, ManifestError
from streams.archive.writer import Archive, FlushPolicy, ensure_schema_files
from streams.log.offsets.source_offsets import WINDOW, Seen
from streams.log.other_catalogues import Layouts
from tests.support.archive_samples import START_MS, Record, decisions, features, outcomes
from tests.support.catalogue_samples import AFTER, BEFORE, NEW, kafka_record_of
from tests.support.feature_batches import decode_features, encode_features

DAY_MS = 86_400_000


def no_refusal(record: object, reason: str) -> None:
    raise AssertionError(f"{record} refused: {reason}")


def rows(root: Path, topic: str):
    return ds.dataset(root / topic, partitioning="hive").to_table().sort_by("offset").to_pydict()


def test_every_topic_becomes_its_columns(tmp_path):
    ensure_schema_files(tmp_path)
    archive = Archive(tmp_path, no_refusal)
    archive.add([features(n) for n in range(5)], 0.0)
    archive.add([decisions(n) for n in range(3)], 0.0)
    archive.add([outcomes(0)], 0.0)
    archive.close()
    found = rows(tmp_path, "features")
    assert found["transaction_id"] == [f"tx-{n}" for n in range(5)]
    assert found["channel_name"] == [None, "ecom", None, "ecom", None]
    assert found[NAMES[0]] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert np.isnan(found[NAMES[3]]).all()
    assert found["event_timestamp"][2].timestamp() * 1000 == START_MS + 2
    assert found["created_timestamp"][2].timestamp() * 1000 == START_MS + 9
    found = rows(tmp_path, "decisions")
    assert found["reasons"] == ["[]"] * 3 and found["score"] == [0.25] * 3
    assert found["decided_at"][0].timestamp() * 1000 == START_MS + 3
    assert rows(tmp_path, "outcomes")["label"] == ["fraud"]


def with_attributes(number: int, attributes):
    found = decode_features(features(number).value)
    transaction = msgspec.structs.replace(found.transaction, attributes=attributes)
    value = encode_features(msgspec.structs.replace(found, transaction=transaction))
    return dataclasses.replace(features(number), value=value)


def test_declared_attributes_have_columns_of_their_type(tmp_path):
    before = Archive(tmp_path, no_refusal)
    before.add([features(0)], 0.0)
    before.close()
    declared = Attributes({"tier": Attribute("text"), "items": Attribute("number")})
    ensure_schema_files(tmp_path, declared)
    archive = Archive(tmp_path, no_refusal, attributes=declared)
    archive.add(
        [
            features(1),
            with_attributes(2, {"tier": "gold", "items": 7}),
            with_attributes(3, {"items": 0.5, "other": 1}),
        ],
        0.0,
    )
    # from before they were declared as they are now
    archive.add([with_attributes(4, {"tier": 3, "items": "many"})], 0.0)
    archive.close()
    schema = schema_with(declared)
    found = ds.dataset(tmp_path / "features", schema=schema).to_table().sort_by("offset").to_pydict()
    assert found["text_tier"] == [None, None, "gold", None, None]
    assert found["number_items"] == [None, None, 7.0, 0.5, None]
    # a file without them is what it was
    (first,) = (tmp_path / "features").glob("*/features-0-0-0.parquet")
    assert pq.read_schema(first).names == SCHEMA.names


def test_rows_lie_under_the_day_of_their_event(tmp_path):
    archive = Archive(tmp_path, no_refusal)
    archive.add([features(n, event_ms=START_MS + n * DAY_MS) for n in range(3)], 0.0)
    archive.close()
    files = sorted(path.relative_to(tmp_path / "features") for path in tmp_path.glob("features/*/*"))
    assert len(files) == 3
    assert {path.name for path in files} == {"features-0-0-2.parquet"}
    assert sorted(rows(tmp_path, "features")["offset"]) == [0, 1, 2]


def test_flushes_by_age_and_by_number(tmp_path):
    archive = Archive(tmp_path, no_refusal, FlushPolicy(rows=4, every_s=5.0))
    archive.add([features(0)], 100.0)
    archive.flush_due(104.9)
    assert not list(tmp_path.glob("features/*/*"))
    archive.flush_due(105.0)
    assert len(list(tmp_path.glob("features/*/*"))) == 1
    archive.add([features(n) for n in range(1, 5)], 106.0)
    assert len(list(tmp_path.glob("features/*/*"))) == 2


def test_what_comes_again_is_not_written_again(tmp_path):
    archive = Archive(tmp_path, no_refusal)
    archive.add([features(n) for n in range(4)], 0.0)
    archive.add([features(n) for n in range(2, 6)], 0.0)
    # a processor's crash repeats a source offset in a new record
    archive.add([features(3, offset=6), features(6, offset=7)], 0.0)
    archive.close()
    again = Archive(tmp_path, no_refusal)
    assert again.start_positions([("features", 0), ("features", 1)]) == {
        ("features", 0): 8,
        ("features", 1): 0,
    }
    again.add([features(5, offset=8), features(7, offset=9)], 0.0)
    again.close()
    assert rows(tmp_path, "features")["transaction_id"] == [f"tx-{n}" for n in range(8)]


def named(number: int, source: str, partition: int = 0) -> Record:
    """An outcome that says which record completed it."""
    headers = (("other", b"1"), ("tollgate-outcome-source", source.encode()))
    return dataclasses.replace(outcomes(number, partition), headers=headers)


def test_outcomes_that_come_again_from_a_source_are_not_written_again(tmp_path):
    archive = Archive(tmp_path, no_refusal)
    first = [named(0, "labels:0:5"), named(1, "decisions:0:2"), named(2, "labels:0:7")]
    archive.add([*first, named(3, "labels:0:7")], 0.0)
    # each topic and each partition counts by itself
    archive.add([named(0, "labels:1:5", 1), named(1, "decisions:1:2", 1)], 0.0)
    archive.flush_due(10.0)
    archive.add([named(4, "decisions:0:2")], 20.0)
    archive.close()
    again = Archive(tmp_path, no_refusal)
    assert again.start_positions([("outcomes", 0)]) == {("outcomes", 0): 5}
    again.add([named(5, "labels:0:5"), named(6, "labels:0:6"), named(7, "decisions:0:3")], 0.0)
    again.add([named(2, "labels:1:5", 1)], 0.0)
    again.close()
    found = rows(tmp_path, "outcomes")
    places = sorted(zip(found["partition"], found["offset"], strict=True))
    assert places == [(0, 0), (0, 1), (0, 2), (0, 6), (0, 7), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    "source", ["", "labels", "labels:0", "labels:0:x", "labels:0:-1", "other:0:1", "labels:1:1", f"labels:0:{'9' * 30}"]
)  # fmt: skip
def test_outcomes_that_name_no_source_are_all_written(tmp_path, source):
    archive = Archive(tmp_path, no_refusal)
    archive.add([named(0, source), named(1, source), outcomes(2), outcomes(3)], 0.0)
    archive.close()
    assert rows(tmp_path, "outcomes")["offset"] == [0, 1, 2, 3]


def test_a_manifest_from_before_sources_were_remembered_goes_on(tmp_path):
    archive = Archive(tmp_path, no_refusal)
    archive.add([outcomes(0)], 0.0)
    archive.close()
    with sqlite3.connect(tmp_path / "manifest.sqlite") as before:
        before.execute("DROP TABLE IF EXISTS sources")
    archive = Archive(tmp_path, no_refusal)
    archive.add([outcomes(0), named(1, "labels:0:0"), named(2, "labels:0:0")], 0.0)
    archive.close()
    assert rows(tmp_path, "outcomes")["offset"] == [0, 1]


@given(
    st.lists(st.integers(0, 40) | st.integers(WINDOW - 3, WINDOW + 40) | st.integers(0, 10**18), max_size=30)
)
def test_seen_offsets_are_those_that_came_or_are_too_old(offsets):
    seen, came = Seen(), set()
    for offset in offsets:
        for asked in {offset, offset - 1, offset + 1, offset - WINDOW, 0}:
            old = bool(came) and asked <= max(came) - WINDOW
            assert (asked in seen) == (asked in came or old)
        seen = seen.with_offset(offset)
        came.add(offset)
        seen = Seen.unpack(seen.last, seen.pack())


def test_a_rebalance_writes_what_is_buffered_before_it_says_where_to_go_on(tmp_path):
    archive = Archive(tmp_path, no_refusal)
    archive.add([decisions(n) for n in range(3)], 0.0)
    assert archive.start_positions([("decisions", 0)]) == {("decisions", 0): 3}
    assert rows(tmp_path, "decisions")["offset"] == [0, 1, 2]


def test_what_was_never_archived_starts_at_the_beginning(tmp_path):
    """The group's committed offset may be ahead of what a killed process had written."""
    archive = Archive(tmp_path, no_refusal)
    assert archive.start_positions([("outcomes", 0), ("decisions", 1)]) == {
        ("outcomes", 0): 0,
        ("decisions", 1): 0,
    }


def test_unreadable_records_are_refused_and_stop_nothing(tmp_path):
    refused: list[tuple[Record, str]] = []
    archive = Archive(tmp_path, lambda record, reason: refused.append((record, reason)))
    bad = [
        Record("features", 0, 1, 1, b"\xff"),
        Record("features", 0, 2, 1, None),
        features(3, catalogue="0" * 16),
    ]
    archive.add([features(0), *bad, features(4)], 0.0)
    archive.add([Record("decisions", 0, 0, 1, b"{}"), Record("outcomes", 0, 0, 1, b"[")], 0.0)
    archive.close()
    assert rows(tmp_path, "features")["offset"] == [0, 4]
    assert len(refused) == 5
    assert "catalogue" in refused[2][1]
    assert Manifest(tmp_path).positions()[("decisions", 0)].next_offset == 1


def changed(record: Record, before: bytes, after: bytes) -> Record:
    assert record.value is not None and before in record.value
    return dataclasses.replace(record, value=record.value.replace(before, after))


@pytest.mark.parametrize(
    "bad",
    [
        b'"yesterday"',
        b'""',
        b'"2026-11-21"',
        b'"2026-11-21T10:15:30"',
        b'"2026-02-30T10:15:30Z"',
        b"null",
        b"true",
    ],
)
@pytest.mark.parametrize(
    ("make", "field"),
    [
        (decisions, b"event_time"), (decisions, b"decided_at"),
        (outcomes, b"event_time"), (outcomes, b"decided_at"), (outcomes, b"label_time"),
    ],
)  # fmt: skip
def test_a_time_that_is_none_is_refused_with_its_record_alone(tmp_path, make, field, bad):
    refused: list[tuple[Record, str]] = []
    archive = Archive(tmp_path, lambda record, reason: refused.append((record, reason)))
    record = make(1)
    value = re.sub(rb'"%s":"[^"]*"' % field, b'"%s":%s' % (field, bad), record.value)
    assert value != record.value
    archive.add([make(0), dataclasses.replace(record, value=value), make(2)], 0.0)
    archive.close()
    assert rows(tmp_path, record.topic)["offset"] == [0, 2]
    assert [record.offset for record, _ in refused] == [1]


@pytest.mark.parametrize("name", ["event_time", "decided_at"])
@pytest.mark.parametrize(
    "odd", ["2026-11-21T10Z", "2026-11-21T10:15Z", "2026-11-21T10:15:30+02", "0000-01-01T00:00:00Z"]
)
def test_what_is_a_time_to_one_reader_only_is_refused_whatever_lies_beside_it(tmp_path, name, odd):
    for batch in ([1], [0, 1, 2]):
        refused: list[Record] = []
        archive = Archive(tmp_path / str(len(batch)), lambda record, _, to=refused: to.append(record))
        given = [decisions(k) for k in batch]
        value = re.sub(
            rb'"%s":"[^"]*"' % name.encode(), b'"%s":"%s"' % (name.encode(), odd.encode()), decisions(1).value
        )
        given[batch.index(1)] = dataclasses.replace(decisions(1), value=value)
        archive.add(given, 0.0)
        archive.close()
        assert [record.offset for record in refused] == [1]


def batch(offset: int, *numbers: int) -> Record:
    """One record of `features` with many rows."""
    rows = [decode_features(features(number).value) for number in numbers]
    return dataclasses.replace(features(numbers[0], offset=offset), value=encode_features(*rows))


def test_rows_of_a_batch_are_rows_of_the_table(tmp_path):
    archive = Archive(tmp_path, no_refusal)
    taken = archive.add([batch(0, 0, 1, 2), features(3, offset=1), batch(2, 4, 5)], 0.0)
    assert [len(one) for one in taken] == [3, 1, 2]
    # after a processor's crash: some rows of a batch come again, with others
    taken = archive.add([batch(2, 4, 5), batch(3, 4, 5, 6)], 0.0)
    assert [one.columns.offset for one in taken] == [[4, 5, 6]]
    archive.close()
    again = Archive(tmp_path, no_refusal)
    assert again.start_positions([("features", 0)]) == {("features", 0): 4}
    again.add([batch(4, 5, 6, 7, 8)], 0.0)
    again.close()
    found = rows(tmp_path, "features")
    assert found["transaction_id"] == [f"tx-{n}" for n in range(9)]
    assert found["created_timestamp"][2] == found["created_timestamp"][0] != found["created_timestamp"][3]


def test_rows_are_counted_for_a_flush_not_records(tmp_path):
    archive = Archive(tmp_path, no_refusal, FlushPolicy(rows=4, every_s=5.0))
    archive.add([batch(0, 0, 1, 2)], 0.0)
    assert not list(tmp_path.glob("features/*/*"))
    archive.add([batch(1, 3)], 0.0)
    assert len(list(tmp_path.glob("features/*/*"))) == 1


def test_a_batch_of_an_unknown_catalogue_is_refused_and_its_rows_do_not_count_as_seen(tmp_path):
    refused: list[Record] = []
    archive = Archive(tmp_path, lambda record, _: refused.append(record))
    archive.add([features(0), features(1, catalogue="0" * 16), features(1, offset=2)], 0.0)
    archive.close()
    assert rows(tmp_path, "features")["offset"] == [0, 1]
    assert [record.offset for record in refused] == [1]


def test_reasons_that_are_no_text_are_refused_with_their_record_alone(tmp_path):
    refused: list[tuple[Record, str]] = []
    archive = Archive(tmp_path, lambda record, reason: refused.append((record, reason)))
    bad = changed(decisions(1), b'"reasons":[]', b'"reasons":["\xff"]')
    deep = changed(decisions(2), b'"reasons":[]', b'"reasons":' + b"[" * 100_000)
    archive.add([decisions(0), bad, deep, decisions(3)], 0.0)
    archive.close()
    assert rows(tmp_path, "decisions")["offset"] == [0, 3]
    assert [record.offset for record, _ in refused] == [1, 2]


def test_times_keep_their_moment_in_any_zone(tmp_path):
    archive = Archive(tmp_path, no_refusal)
    value = re.sub(
        rb'"event_time":"[^"]*"',
        b'"event_time":"2026-11-21T12:15:30.123999+02:00"',
        decisions(0).value or b"",
    )
    archive.add([dataclasses.replace(decisions(0), value=value)], 0.0)
    archive.close()
    found = rows(tmp_path, "decisions")["event_timestamp"][0]
    assert found.isoformat() == "2026-11-21T10:15:30.123000+00:00"


_WORKER = """
import os, signal, sys
from pathlib import Path
from streams.archive import manifest, writer
from tests.support.archive_samples import features
cut, root = int(sys.argv[1]), Path(sys.argv[2])
calls = 0
def die():
    global calls
    calls += 1
    if calls == cut:
        os.kill(os.getpid(), signal.SIGKILL)
def before(function):
    return lambda *a, **k: (die(), function(*a, **k))[1]
writer.write_parquet = before(writer.write_parquet)
manifest.Manifest.begin = before(manifest.Manifest.begin)
manifest.Manifest.finish = before(manifest.Manifest.finish)
archive = writer.Archive(root, lambda r, t: sys.exit(9), writer.FlushPolicy(rows=10, every_s=1))
start = archive.start_positions([("features", 0), ("features", 1)])
for first in range(0, 60, 6):
    for part in (0, 1):
        archive.add([features(n, part) for n in range(first, first + 6) if n >= start.get(("features", part), 0)], 0.0)
archive.close()
"""


def test_killed_anywhere_no_row_is_lost_or_doubled(tmp_path):
    """SIGKILL before every step of a flush in turn; the next process goes on from the manifest."""
    worker = tmp_path / "worker.py"
    worker.write_text(_WORKER)
    root = tmp_path / "archive"
    ends = []
    for cut in (1, 2, 3, 4, 6, 7, 0):
        ended = subprocess.run(
            [sys.executable, str(worker), str(cut), str(root)], timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
        ends.append(ended.returncode)
    assert ends == [-signal.SIGKILL] * 6 + [0]
    table = ds.dataset(root / "features", partitioning="hive").to_table().to_pydict()
    assert sorted(zip(table["partition"], table["offset"], strict=True)) == [
        (p, n) for p in (0, 1) for n in range(60)
    ]
    assert not list(root.rglob("*.tmp"))


def test_a_full_disk_is_an_error_and_nothing_is_remembered(tmp_path, monkeypatch):
    archive = Archive(tmp_path, no_refusal)
    archive.add([decisions(0)], 0.0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        archive.flush_due(10.0)
    assert Manifest(tmp_path).positions() == {}


def test_a_file_that_is_no_manifest_is_named(tmp_path):
    (tmp_path / "manifest.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ManifestError, match=r"manifest\.sqlite"):
        Manifest(tmp_path)


def test_rows_of_another_catalogue_are_kept_by_name(tmp_path):
    """Older code's rows lack what is new, newer code's lose what this archive does not know; the others are as ever."""
    archive = Archive(
        tmp_path, no_refusal, layouts=Layouts({made.catalogue: made for made in (BEFORE, AFTER)}.get)
    )
    archive.add(
        [features(0), kafka_record_of(BEFORE, features(1)), kafka_record_of(AFTER, features(2)), features(3)],
        0.0,
    )
    archive.close()
    found = rows(tmp_path, "features")
    assert found["transaction_id"] == [f"tx-{n}" for n in range(4)]
    for place, name in enumerate(NAMES):
        if place == 3:
            continue
        expected = [float(place + number) for number in range(4)]
        if name in NEW:
            assert np.isnan(found[name][1])
            expected[1] = found[name][1] = 0.0
        assert found[name] == expected, name


def test_while_nobody_can_be_asked_no_row_is_refused(tmp_path):
    """The layout is looked up patiently: an error ends the process, which goes on from its manifest."""

    def away(_: str) -> Layout | None:
        raise StoreUnavailable("for too long")

    archive = Archive(tmp_path, no_refusal, layouts=Layouts(away, must_know=True))
    archive.add([features(0), kafka_record_of(BEFORE, features(1))], 0.0)
    with pytest.raises(StoreUnavailable):
        archive.close()
    again = Archive(tmp_path, no_refusal, layouts=Layouts({BEFORE.catalogue: BEFORE}.get))
    assert again.start_positions([("features", 0)]) == {("features", 0): 0}


def test_the_schema_file_follows_the_catalogue(tmp_path):
    """Who takes the first file's columns for all finds new ones, and nulls where older files lack them."""
    ensure_schema_files(tmp_path)
    empty = tmp_path / "features/date=1970-01-01/features-empty.parquet"
    whole = pq.read_schema(empty)
    older = pa.schema([field for field in whole if field.name not in NEW])
    pq.write_table(older.empty_table(), empty)
    archived = tmp_path / "features/date=2026-01-01"
    archived.mkdir()
    pq.write_table(pa.table({"offset": pa.array([1], pa.int64())}), archived / "a.parquet")
    before = empty.stat().st_mtime_ns
    ensure_schema_files(tmp_path)
    assert pq.read_schema(empty) == whole and empty.stat().st_mtime_ns != before
    assert rows(tmp_path, "features")[NEW[0]] == [None]
    before = empty.stat().st_mtime_ns
    ensure_schema_files(tmp_path)
    assert empty.stat().st_mtime_ns == before
