"""Stored profiles of every layout stay readable: a golden file for each, and readers that know more or fewer fields.

The files were written once, by ``python -m tests.conformance.test_profile_bytes`` when their layout was new, and are never
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
    HEADER,
    IN_PARTS,
    KINDS,
    LAYOUT,
    MARK,
    WHOLE_WORDS,
    ProfileError,
    encode_profiles,
    max_bytes,
    put_since,
    words_of,
)
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from features.store.keys import pack_bytes
from features.store.stored_profiles import read_profiles
from streams.runtime.settings import Settings
from tests.support.oracle import DAY, HOUR, Event

GOLDEN = Path(__file__).parent / "golden"
LAYOUTS = (WHOLE_WORDS, LAYOUT, IN_PARTS)
DTYPES = {"payer": PAYER, "shared_entity": SHARED_ENTITY, "frauds": FRAUDS}
WHOLE_AFTER = 294
START = 1_760_000_000_000


def payments() -> list[Event]:
    """300 payments over 60 days, some late, one of 10**12 minor units: rings full, groups made, tables full."""
    times = [START + i * 5 * HOUR - (i % 7 == 0) * 9 * HOUR for i in range(300)]
    return [
        Event(f"t-{i}", "c", f"m-{i % 19}", t, 10**12 if i == 290 else 100 + 37 * i % 9000, device_id=f"d-{i % 5}",
              country="FRDEPL"[i % 3 * 2 :][:2], channel="ecom", mcc=str(5000 + i % 10), latitude=48.0 + i % 3, longitude=2.0)
        for i, t in enumerate(times)
    ]  # fmt: skip


def profile(kind: str, first: int = 300) -> np.ndarray:
    """The golden profile of a kind after its ``first`` events, made by this code's kernels."""
    arena, events = new_arena(DTYPES[kind], 1), payments()[:first]
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


def read_in(arena: np.ndarray, *stored: bytes, since: bytes | None = None) -> list[int]:
    """Read profiles as the store holds them into the first slots of an arena; returns how many words each has to which what came since belongs."""
    beside = [] if since is None else [pack_bytes(since)]
    return read_profiles(
        arena, np.arange(len(stored)), [pack_bytes(raw) for raw in stored], beside
    ).in_parts.tolist()


def golden(kind: str, layout: int) -> bytes:
    return (GOLDEN / f"{kind}-{layout}.bin").read_bytes()


def golden_since(kind: str) -> bytes:
    """What came since the first ``WHOLE_AFTER`` events."""
    return (GOLDEN / f"{kind}-{IN_PARTS}-since.bin").read_bytes()


def since(kind: str) -> bytes:
    """As ``golden_since``, made by this code."""
    now, then = words_of(profile(kind)), words_of(profile(kind, WHOLE_AFTER))
    out = np.empty(max_bytes(now.shape[1]) + MARK, dtype=np.uint8)
    end = put_since(now[0], then[0], KINDS[DTYPES[kind]], np.empty(now.shape[1], dtype=np.uint64), out, 0)
    return out[:end].tobytes()


def in_parts(kind: str, came_since: bytes) -> np.ndarray:
    """A profile that was written whole after ``WHOLE_AFTER`` events, and what came since, as it is read."""
    (whole,) = encode_profiles(profile(kind, WHOLE_AFTER), np.array([0]), IN_PARTS)
    arena = new_arena(DTYPES[kind], 1)
    read_in(arena, whole, since=came_since)
    return arena


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", DTYPES)
def test_the_kernels_still_write_the_golden_bytes(kind: str, layout: int) -> None:
    """Those of the layouts of before while code of before runs beside (``profile_layout`` of the settings)."""
    assert encode_profiles(profile(kind), np.array([0]), layout)[0] == golden(kind, layout)


def test_layouts_can_be_chosen_and_no_other() -> None:
    assert Settings(home="unused").written_layout == IN_PARTS
    for layout in LAYOUTS:
        assert Settings(home="unused", profile_layout=layout).written_layout == layout
    with pytest.raises(ValueError, match="null, 2, 3 or 4"):
        Settings(home="unused", profile_layout=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", DTYPES)
def test_golden_bytes_are_read(kind: str, layout: int) -> None:
    arena = new_arena(DTYPES[kind], 1)
    read_in(arena, golden(kind, layout))
    assert arena[0].tobytes() == profile(kind)[0].tobytes()
    assert len(golden(kind, layout)) <= 2048


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
    stored = encode_profiles(arena, np.arange(2))
    for each, raw in zip(arena.view(np.uint64).reshape(2, -1), stored, strict=True):
        assert len(raw) <= HEADER + (len(each) + 7) // 8 + 8 * np.count_nonzero(each) <= 2048
    back = new_arena(PAYER, 2)
    read_in(back, *stored)
    assert back.tobytes() == arena.tobytes()


def longer(stored: bytes, words: int) -> bytes:
    """The same profile as a writer would store it that knows one more word at the end, which is not zero."""
    layout = stored[1]
    mask_end = HEADER + (words + 7) // 8
    mask = bytearray(stored[HEADER:mask_end])
    if words % 8 == 0:
        mask.append(0)
    mask[words // 8] |= 1 << (words % 8)
    length = (words + 1).to_bytes(2, "little")
    word = b"appended" if layout == WHOLE_WORDS else b"\x81ad"
    return stored[:2] + length + bytes(mask) + stored[mask_end:] + word


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", DTYPES)
def test_a_reader_that_knows_less_leaves_out_what_it_does_not_know(kind: str, layout: int) -> None:
    words = DTYPES[kind].itemsize // 8
    arena = new_arena(DTYPES[kind], 1)
    read_in(arena, longer(golden(kind, layout), words))
    assert arena[0].tobytes() == profile(kind)[0].tobytes()


@pytest.mark.parametrize("kind", DTYPES)
def test_a_reader_that_knows_more_takes_the_rest_as_zero(kind: str) -> None:
    old = DTYPES[kind]
    new = np.dtype({"names": ["old", "new"], "formats": [old, ("<i8", (3,))], "offsets": [0, old.itemsize]})
    arena = np.full(2, 7, dtype=new)
    KINDS[new] = KINDS[old]
    try:
        read_in(arena, golden(kind, LAYOUT))
    finally:
        del KINDS[new]
    assert arena[0]["old"].tobytes() == profile(kind)[0].tobytes()
    # an arena for reading is made of zeros; what the record does not say is not touched
    assert arena[0]["new"].tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: raw[:3], "too few"),
        (lambda raw: raw[:-5], "not the length"),
        (lambda raw: raw + b"x", "not the length"),
        (lambda raw: bytes([raw[0] % 3 + 1]) + raw[1:], "this code reads kind"),
        (lambda raw: raw[:1] + bytes([IN_PARTS + 1]) + raw[2:], "features rebuild"),
        (lambda raw: raw[:1] + bytes([WHOLE_WORDS - 1]) + raw[2:], "features rebuild"),
        (lambda _raw: np.zeros(1952, np.uint8).tobytes(), "this code reads kind"),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", DTYPES)
def test_what_is_no_profile_is_refused_in_words(kind: str, layout: int, spoil, said: str) -> None:
    good = golden(kind, layout)
    arena = new_arena(DTYPES[kind], 3)
    with pytest.raises(ProfileError, match=said):
        read_in(arena, good, spoil(good))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [kind for kind, of in DTYPES.items() if of.itemsize // 8 % 8])
def test_a_word_beyond_the_length_that_is_said_is_refused(kind: str, layout: int) -> None:
    words = DTYPES[kind].itemsize // 8
    more = longer(golden(kind, layout), words)
    with pytest.raises(ProfileError, match="not the length"):
        read_in(new_arena(DTYPES[kind], 1), more[:2] + words.to_bytes(2, "little") + more[4:])


@pytest.mark.parametrize("kind", DTYPES)
def test_what_came_since_is_written_and_read_as_it_was_first(kind: str) -> None:
    assert since(kind) == golden_since(kind)
    assert in_parts(kind, golden_since(kind))[0].tobytes() == profile(kind)[0].tobytes()


@pytest.mark.parametrize("kind", DTYPES)
def test_a_reader_that_knows_less_leaves_it_out_of_both(kind: str) -> None:
    """As ``test_a_reader_that_knows_less_leaves_out_what_it_does_not_know``, of a profile in parts."""
    words = DTYPES[kind].itemsize // 8
    (whole,) = encode_profiles(profile(kind, WHOLE_AFTER), np.array([0]), IN_PARTS)
    marked = golden_since(kind)
    # its mark taken out, what came since is like a profile
    more = longer(marked[:HEADER] + marked[HEADER + MARK :], words)
    more = more[:HEADER] + marked[HEADER : HEADER + MARK] + more[HEADER:]
    arena = new_arena(DTYPES[kind], 1)
    assert read_in(arena, longer(whole, words), since=more) == [words + 1]
    assert arena[0].tobytes() == profile(kind)[0].tobytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[: HEADER + MARK - 1],
        lambda raw: raw[:-1],
        lambda raw: raw + b"x",
        lambda raw: bytes([raw[0] % 3 + 1]) + raw[1:],
        lambda raw: raw[:1] + bytes([LAYOUT]) + raw[2:],
        # of a writer of other code, and of another whole profile
        lambda raw: raw[:2] + bytes([raw[2] ^ 1]) + raw[3:],
        lambda raw: raw[:HEADER] + bytes([raw[HEADER] ^ 1]) + raw[HEADER + 1 :],
    ],
)
@pytest.mark.parametrize("kind", DTYPES)
def test_what_did_not_come_since_is_refused_in_words(kind: str, spoil) -> None:
    with pytest.raises(ProfileError, match=r"does not belong to it.*features rebuild"):
        in_parts(kind, spoil(golden_since(kind)))


@pytest.mark.parametrize("layout", [WHOLE_WORDS, LAYOUT])
@pytest.mark.parametrize("kind", DTYPES)
def test_beside_a_whole_profile_nothing_that_came_since_counts(kind: str, layout: int) -> None:
    arena = new_arena(DTYPES[kind], 1)
    assert read_in(arena, golden(kind, layout), since=golden_since(kind)) == [0]
    assert arena[0].tobytes() == profile(kind)[0].tobytes()


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in DTYPES:
        (made,) = encode_profiles(profile(name), np.array([0]), IN_PARTS)
        for path, stored in (
            (GOLDEN / f"{name}-{IN_PARTS}.bin", made),
            (GOLDEN / f"{name}-{IN_PARTS}-since.bin", since(name)),
        ):
            if not path.exists():
                path.write_bytes(stored)
                print(path, len(stored))
