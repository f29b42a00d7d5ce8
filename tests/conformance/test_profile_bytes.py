"""Stored profiles of every format stay readable: a golden file for each kind, and readers that know more or fewer fields.

The files were written once, by ``python -m tests.conformance.test_profile_bytes`` when their format was new, and are never
written again: state in production looks like them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.kernels.columns import columns_of, text_hash
from features.kernels.payer import apply_payments
from features.kernels.shared_entity import DECLINED, LABEL, PAID, apply_frauds, apply_items
from features.profile.codec import (
    FORMAT,
    HEADER,
    KINDS,
    MAX_BYTES,
    WHOLE_WORDS,
    ProfileError,
    encode_profiles,
    read_profiles,
    written_day,
)
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from tests.support.oracle import DAY, HOUR, Event

GOLDEN = Path(__file__).parent / "golden"
DTYPES = {"payer": PAYER, "shared_entity": SHARED_ENTITY, "frauds": FRAUDS}
#: on which the golden files say that they were written
DAY_WRITTEN = 20_788
START = 1_760_000_000_000


def payments() -> list[Event]:
    """300 payments over 60 days, some late, one of 10**12 minor units: rings full, groups made, tables full."""
    times = [START + i * 5 * HOUR - (i % 7 == 0) * 9 * HOUR for i in range(300)]
    return [
        Event(f"t-{i}", "c", f"m-{i % 19}", t, 10**12 if i == 290 else 100 + 37 * i % 9000, device_id=f"d-{i % 5}",
              country="FRDEPL"[i % 3 * 2 :][:2], channel="ecom", mcc=str(5000 + i % 10), latitude=48.0 + i % 3, longitude=2.0)
        for i, t in enumerate(times)
    ]  # fmt: skip


def profile(kind: str) -> np.ndarray:
    """The golden profile of a kind, made by this code's kernels."""
    arena, events = new_arena(DTYPES[kind], 1), payments()
    n = len(events)
    zeros = np.zeros(n, dtype=np.int64)
    moments = np.array([e.event_ms for e in events])
    offsets = np.arange(n)
    if kind == "payer":
        apply_payments(columns_of(events, moments.tolist(), offsets.tolist()), zeros, arena)
    elif kind == "shared_entity":
        cards = np.array([text_hash(f"card-{i % 90}") for i in range(n)], dtype=np.uint32)
        amounts = np.array([e.amount_minor for e in events])
        apply_items(zeros, offsets, zeros + PAID, moments, amounts, cards, zeros, arena)
        apply_items(
            zeros[:9],
            offsets[:9] + n,
            zeros[:9] + LABEL,
            moments[-9:],
            amounts[:9],
            cards[:9],
            zeros[:9] + 1,
            arena,
        )
    else:
        kinds = np.where(offsets % 2 == 0, LABEL, DECLINED)
        apply_frauds(zeros, offsets, kinds, START + offsets * DAY // 100, zeros + 1, arena)
    return arena


def read_in(arena: np.ndarray, *stored: bytes) -> None:
    """Read profiles as the store holds them into the first slots of an arena."""
    read_profiles(arena, np.arange(len(stored)), stored)


def golden(kind: str) -> bytes:
    return (GOLDEN / f"{kind}-{FORMAT}.bin").read_bytes()


def full(kind: str) -> np.ndarray:
    """A profile of which no byte is zero: stored as whole words."""
    return np.full(2 * DTYPES[kind].itemsize, 255, dtype=np.uint8).view(DTYPES[kind])


def both_forms(kind: str) -> list[bytes]:
    return [golden(kind), encode_profiles(full(kind), np.array([0]), DAY_WRITTEN)[0]]


@pytest.mark.parametrize("kind", DTYPES)
def test_the_kernels_still_write_the_golden_bytes(kind: str) -> None:
    assert encode_profiles(profile(kind), np.array([0]), DAY_WRITTEN)[0] == golden(kind)


@pytest.mark.parametrize("kind", DTYPES)
def test_golden_bytes_are_read(kind: str) -> None:
    arena = new_arena(DTYPES[kind], 1)
    read_in(arena, golden(kind))
    assert arena[0].tobytes() == profile(kind)[0].tobytes()
    assert len(golden(kind)) <= MAX_BYTES
    assert written_day(golden(kind)[:HEADER]) == DAY_WRITTEN


def test_a_header_of_no_profile_says_no_day() -> None:
    for header in (
        b"",
        golden("payer")[: HEADER - 1],
        b"\0" * HEADER,
        bytes([FORMAT + 1]) + b"\1" * HEADER,
        b"12345678",
    ):
        assert written_day(header) is None


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 255, 256, 2**32, 2**63, 2**64 - 1]), min_size=8, max_size=8),
    st.integers(0, 249),
)
def test_any_profile_is_stored_in_no_more_than_its_words_and_comes_back(words: list[int], place: int) -> None:
    """From a profile of zeros to one in which no byte is zero."""
    whole = np.resize(np.array(words, dtype=np.uint64), 2 * PAYER.itemsize // 8)
    whole[place:249] = 0
    arena = whole.view(PAYER)
    stored = encode_profiles(arena, np.arange(2), 1)
    for each, raw in zip(arena.view(np.uint64).reshape(2, -1), stored, strict=True):
        assert len(raw) <= HEADER + (len(each) + 7) // 8 + 8 * np.count_nonzero(each) <= MAX_BYTES
    back = new_arena(PAYER, 2)
    read_in(back, *stored)
    assert back.tobytes() == arena.tobytes()


def longer(stored: bytes, words: int) -> bytes:
    """The same profile as a writer would store it that knows one more word at the end, which is not zero."""
    mask_end = HEADER + (words + 7) // 8
    mask = bytearray(stored[HEADER:mask_end])
    if words % 8 == 0:
        mask.append(0)
    mask[words // 8] |= 1 << (words % 8)
    length = (words + 1).to_bytes(2, "little")
    word = b"appended" if stored[1] & WHOLE_WORDS else b"\x81ad"
    return stored[:2] + length + stored[4:HEADER] + bytes(mask) + stored[mask_end:] + word


@pytest.mark.parametrize("kind", DTYPES)
def test_a_reader_that_knows_less_leaves_out_what_it_does_not_know(kind: str) -> None:
    for stored, wanted in zip(both_forms(kind), (profile(kind), full(kind)), strict=True):
        arena = new_arena(DTYPES[kind], 1)
        read_in(arena, longer(stored, DTYPES[kind].itemsize // 8))
        assert arena[0].tobytes() == wanted[0].tobytes()


@pytest.mark.parametrize("kind", DTYPES)
def test_a_reader_that_knows_more_takes_the_rest_as_zero(kind: str) -> None:
    old = DTYPES[kind]
    new = np.dtype({"names": ["old", "new"], "formats": [old, ("<i8", (3,))], "offsets": [0, old.itemsize]})
    arena = np.full(2, 7, dtype=new)
    KINDS[new] = KINDS[old]
    try:
        read_in(arena, golden(kind))
    finally:
        del KINDS[new]
    assert arena[0]["old"].tobytes() == profile(kind)[0].tobytes()
    # an arena for reading is made of zeros; what the record does not say is not touched
    assert arena[0]["new"].tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _raw: b"", "0 bytes: too few"),
        (lambda raw: raw[:5], "too few"),
        (lambda raw: raw[:HEADER], "does not have the length"),
        (lambda raw: raw[:-5], "does not have the length"),
        (lambda raw: raw + b"x", "does not have the length"),
        (lambda raw: raw[:1] + bytes([(raw[1] & ~WHOLE_WORDS) % 3 + 1]) + raw[2:], "here kind"),
        (lambda raw: bytes([FORMAT + 1]) + raw[1:], f"format {FORMAT + 1}.*features rebuild"),
        (lambda raw: bytes([FORMAT - 1]) + raw[1:], "features rebuild"),
        (lambda _raw: np.zeros(1952, np.uint8).tobytes(), "this code reads format"),
    ],
)
@pytest.mark.parametrize("kind", DTYPES)
def test_what_is_no_profile_is_refused_in_words(kind: str, spoil, said: str) -> None:
    for good in both_forms(kind):
        arena = new_arena(DTYPES[kind], 3)
        with pytest.raises(ProfileError, match=said):
            read_in(arena, good, spoil(good))


@pytest.mark.parametrize("kind", [kind for kind, of in DTYPES.items() if of.itemsize // 8 % 8])
def test_a_word_beyond_the_length_that_is_said_is_refused(kind: str) -> None:
    words = DTYPES[kind].itemsize // 8
    for stored in both_forms(kind):
        more = longer(stored, words)
        with pytest.raises(ProfileError, match="does not have the length"):
            read_in(new_arena(DTYPES[kind], 1), more[:2] + words.to_bytes(2, "little") + more[4:])


def test_nothing_stored_leaves_an_empty_profile() -> None:
    arena = new_arena(PAYER, 3)
    read_profiles(arena, np.arange(3), [None, golden("payer"), None])
    empty = new_arena(PAYER, 1)[0].tobytes()
    assert [arena[i].tobytes() for i in range(3)] == [empty, profile("payer")[0].tobytes(), empty]


if __name__ == "__main__":
    for name in DTYPES:
        path = GOLDEN / f"{name}-{FORMAT}.bin"
        if not path.exists():
            path.write_bytes(encode_profiles(profile(name), np.array([0]), DAY_WRITTEN)[0])
            print(path, path.stat().st_size)
