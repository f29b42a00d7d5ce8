"""Layouts of other catalogues: put on record, looked up sparingly, and vectors converted exactly where they are known."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from features.catalogue import CATALOGUE_HASH, INDEX, NAMES, WIDTH
from features.store.redis_client import StoreUnavailable
from features.vector_layouts import OWN, Layout
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import (
    ALL_KNOWN,
    LOOK_EVERY_S,
    MAX_UNKNOWN,
    Layouts,
    aligned_rows,
    announcement,
    has_all,
    layout_key,
    own_block,
    stored_in,
)
from tests.support.archive_samples import features
from tests.support.catalogue_samples import AFTER, BEFORE, NEW, as_written_by, layout
from tests.support.feature_batches import batch_of, decode_features
from tests.support.parity_world import MemoryRedis

CHANGED = layout("ca" * 8, reversed(NAMES), changed=["amount", "card_sum_7d"])
KNOWN = {made.catalogue: made for made in (BEFORE, AFTER, CHANGED)}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Register:
    """Answers from a dictionary, counts what it is asked, and can be away."""

    def __init__(self, known: dict[str, Layout]) -> None:
        self.known, self.asked, self.away = known, [], False

    def __call__(self, catalogue: str) -> Layout | None:
        self.asked.append(catalogue)
        if self.away:
            raise StoreUnavailable("switched off")
        return self.known.get(catalogue)


def own(number: int) -> FeatureRecord:
    return decode_features(features(number).value or b"")


def test_what_is_announced_is_found() -> None:
    redis = MemoryRedis()
    for made in (OWN, BEFORE):
        redis.call([announcement(made)])
    find = stored_in(redis)  # type: ignore[arg-type]
    assert (find(OWN.catalogue), find(BEFORE.catalogue), find("nobody's")) == (OWN, BEFORE, None)


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", b'{"catalogue":"x","names":["a"],"definitions":[]}', b"\xff"]
)
def test_what_is_no_layout_is_unknown(value: bytes) -> None:
    redis = MemoryRedis()
    redis.call([("SET", layout_key("x"), value)])
    assert stored_in(redis)("x") is None  # type: ignore[arg-type]


def test_a_layout_is_looked_up_once_and_an_unknown_one_once_a_second() -> None:
    clock, register = Clock(), Register(dict(KNOWN))
    layouts = Layouts(register, clock)
    for _ in range(5):
        assert layouts.of(BEFORE.catalogue) is not None and layouts.of("later") is None
    assert register.asked == [BEFORE.catalogue, "later"]
    register.known["later"] = AFTER
    clock.now += LOOK_EVERY_S - 0.01
    assert layouts.of("later") is None
    clock.now += 0.02
    assert layouts.of("later") is not None
    assert register.asked == [BEFORE.catalogue, "later", "later"]


def test_a_store_that_is_away_is_asked_once_a_second_whatever_for() -> None:
    clock, register = Clock(), Register(dict(KNOWN))
    register.away = True
    layouts = Layouts(register, clock)
    assert [layouts.of(name) for name in (*KNOWN, "a", "b")] == [None] * 5
    assert len(register.asked) == 1
    register.away = False
    clock.now += LOOK_EVERY_S + 0.01
    assert layouts.of(AFTER.catalogue) is not None


def test_any_number_of_unknown_names_takes_no_more_memory() -> None:
    layouts = Layouts(Register({}), Clock())
    for number in range(10 * MAX_UNKNOWN):
        assert layouts.of(f"garbage-{number}") is None
    assert len(layouts._ask_again) <= MAX_UNKNOWN


writers = st.sampled_from(
    [OWN, BEFORE, AFTER, CHANGED, layout("f0" * 8, NAMES[:3]), layout("unknown", NAMES)]
)


@given(st.lists(st.tuples(writers, st.booleans()), max_size=12))
def test_mixed_records_come_into_this_codes_layout(made: list[tuple[Layout, bool]]) -> None:
    layouts = Layouts({**KNOWN, "f0" * 8: layout("f0" * 8, NAMES[:3])}.get)
    records = [as_written_by(writer, own(n)) for n, (writer, _) in enumerate(made)]
    records = [
        msgspec.structs.replace(record, vector=record.vector[:-4]) if cut else record
        for record, (_, cut) in zip(records, made, strict=True)
    ]
    rows, known = aligned_rows(records, layouts)
    assert rows.shape == (len(made), WIDTH) and rows.dtype == np.float32
    for row, (writer, cut) in enumerate(made):
        values = np.frombuffer(own(row).vector, "<f4")
        theirs = dict(zip(writer.names, writer.definitions, strict=True))
        same = np.array([theirs.get(n) == d for n, d in zip(OWN.names, OWN.definitions, strict=True)])
        readable = writer.catalogue != "unknown" and not cut
        expected = np.where(same & readable, values, np.float32(np.nan))
        assert (rows[row].view(np.uint32) == expected.view(np.uint32)).all()
        found = known[row]
        assert (found == same).all() if readable and found is not None else found is None and not readable
        assert (found is ALL_KNOWN) == (writer is OWN and not cut)


def test_a_block_of_this_code_asks_nothing_and_is_not_copied() -> None:
    register = Register({})
    batch = batch_of([own(number) for number in range(3)])
    rows, known = own_block(batch.catalogue, batch.vectors, Layouts(register))
    assert rows is batch.vectors and known is ALL_KNOWN and register.asked == []
    assert aligned_rows([], Layouts(register))[0].shape == (0, WIDTH)


def test_only_rows_with_all_that_is_needed_are_readable() -> None:
    records = [
        own(0),
        as_written_by(BEFORE, own(1)),
        as_written_by(layout("x", NAMES), own(2)),
        as_written_by(CHANGED, own(3)),
    ]
    needed = np.zeros(WIDTH, bool)
    needed[INDEX["card_sum_7d"]] = True
    rows, known = aligned_rows(records, Layouts(KNOWN.get))
    assert [has_all(found, needed) for found in known] == [True, True, False, False]
    assert [has_all(found, None) for found in known] == [True, True, False, True]
    assert np.isnan(rows[1, [INDEX[name] for name in NEW]]).all()


def test_converted_vectors_are_counted_by_catalogue() -> None:
    def counted() -> float:
        labels = {"catalogue": BEFORE.catalogue}
        return REGISTRY.get_sample_value("tollgate_vectors_converted_total", labels) or 0.0

    before = counted()
    aligned_rows([own(0), as_written_by(BEFORE, own(1)), as_written_by(BEFORE, own(2))], Layouts(KNOWN.get))
    assert counted() == before + 2
    assert CATALOGUE_HASH not in {made.catalogue for made in KNOWN.values()}
