"""Card numbers: which numbers are some, and that none stays readable however it is spelled."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import pytest

from streams.contracts.text.card_numbers import (
    ISSUERS,
    find_card_number,
    is_card_number,
    mask_card_numbers,
    mask_text,
    passes_luhn,
)
from streams.mapping.tokens import card_token
from tests.support.card_spellings import SPELLINGS, spelled


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111", "4222222222222", "4917610000000000003", "5500005555555559", "2223003122003222", "340000000000009",
        "378282246310005", "30569309025904", "36227206271667", "6011111111111117", "6500000000000002", "3530111333300000", "6200000000000005",
        "6759649826438453", "501800000009", "2200000000000004", "8600000000000007", "9792000000000001",
    ],
)  # fmt: skip
def test_numbers_of_known_issuers_are_card_numbers(number: str) -> None:
    if not passes_luhn(number):
        # only prefix and length are meant: the check digit is computed
        number = next(n for n in (number[:-1] + str(d) for d in range(10)) if passes_luhn(n))
    assert is_card_number(number) and find_card_number(f"x {number} y") == number
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not is_card_number(wrong) and find_card_number(wrong) is None


def numbers(count: int, make: Callable[[random.Random], int]) -> list[str]:
    chance = random.Random(17)
    return [str(make(chance)) for _ in range(count)]


@pytest.mark.parametrize(
    ("what", "most", "make"),
    [
        ("milliseconds of 2020 to 2035", 0.0, lambda r: r.randrange(1_577_836_800_000, 2_051_222_400_000)),
        ("microseconds", 0.0, lambda r: r.randrange(1_577_836_800_000_000, 2_051_222_400_000_000)),
        ("nanoseconds", 0.0, lambda r: r.randrange(1_577_836_800_000_000_000, 2_051_222_400_000_000_000)),
        ("int64 keys", 0.03, lambda r: r.randrange(10**18, 2**63)),
        ("dates and numbers", 0.0, lambda r: int(f"2026{r.randrange(1, 13):02d}{r.randrange(1, 29):02d}{r.randrange(10**8):08d}")),
        ("snowflakes", 0.0, lambda r: (r.randrange(360_000_000_000, 400_000_000_000) << 22) + r.randrange(1 << 22)),
    ],
)  # fmt: skip
def test_numbers_of_programs_are_hardly_ever_card_numbers(
    what: str, most: float, make: Callable[[random.Random], int]
) -> None:
    """The check digit alone takes one in ten for a card."""
    made = numbers(20_000, make)
    assert 0.08 < sum(map(passes_luhn, made)) / len(made) < 0.12
    assert sum(map(is_card_number, made)) / len(made) <= most, what


def test_what_looks_like_one_and_is_not() -> None:
    for text in (
        "000000000000", "0000000000000000", "1795347168-12", "2026-11-21 10:15:30.123", "192.168.100.200", "4111111111111112",
        # the middle of a longer number
        "94111111111111111", "41111111111111119", "550e8400-e29b-41d4-a716-446655440000", "", "4111",
    ):  # fmt: skip
        assert find_card_number(text) is None and mask_text(text) == text, text


def test_issuers_are_ranges_of_prefixes_of_one_length() -> None:
    for issuer in ISSUERS:
        assert len(str(issuer.first)) == len(str(issuer.last)) and issuer.first <= issuer.last
        assert issuer.lengths and all(12 <= length <= 19 for length in issuer.lengths)


@pytest.mark.parametrize("number", ["4111111111111111", "378282246310005", "6759649826438453"])
def test_a_card_number_is_found_and_masked_however_it_is_spelled(number: str) -> None:
    assert len(SPELLINGS) >= 40
    for name, spell in SPELLINGS.items():
        text = f"card: {spell(number)}; amount 12"
        assert find_card_number(text) is not None, name
        masked = mask_text(text)
        assert spelled(number, text) and spelled(number, masked) == [], name
        assert masked.startswith("card: ") and masked.endswith("; amount 12")
        assert mask_text(masked) == masked
        # within JSON, its own escapes or none, within a string of a string, and cut off in the middle of the document
        for ascii_only in (True, False):
            document = json.dumps({"device_id": spell(number), "n": 1}, ensure_ascii=ascii_only)
            for whole in (document, json.dumps(document), document[:-4]):
                hidden = mask_card_numbers(whole.encode("utf-8", "surrogatepass"))
                assert spelled(number, hidden.decode("utf-8", "surrogateescape")) == [], name
            assert json.loads(mask_text(document))["n"] == 1


def test_all_spellings_of_a_number_have_one_token() -> None:
    key = b"k" * 32
    token = card_token("4111111111111111", key)
    said = {
        name: card_token(SPELLINGS[name]("4111111111111111"), key)
        for name in ("hyphen", "two blanks", "full width", "thin", "dot")
    }
    assert set(said.values()) == {token}
    assert (
        len({token, card_token("4111111111111112", key), card_token("a1", key), card_token("b1", key)}) == 4
    )


def test_several_and_overlapping_ones_are_all_masked() -> None:
    text = "4111 1111 1111 1111 4222222222222, 5500005555555559/378282246310005"
    masked = mask_text(text)
    for number in ("4111111111111111", "4222222222222", "5500005555555559", "378282246310005"):
        assert spelled(number, masked) == []


def test_what_holds_none_stays_to_the_byte() -> None:
    for raw in (b"\xff\xfe 12 \\u0034", b'{"a":"\\u00e9 %20 &amp; 1"}', bytes(range(256))):
        assert mask_card_numbers(raw) == raw


def test_hostile_text_costs_time_in_proportion() -> None:
    """The time of four times the text, against four times the time: squares would be sixteen times it."""
    for piece in (
        "1 ",
        "4 ",
        "9",
        "\\",
        "\\u",
        "\\u0039",
        "%25",
        "25",
        "&amp;",
        "amp;",
        "４ ",
        "1     ",
        "4111 1111 1111 1111 ",
    ):
        times = []
        for length in (8_000, 32_000):
            text = "%&" + piece * (length // len(piece))
            best = min(_seconds(text) for _ in range(3))
            times.append(best)
        assert times[1] < 10 * times[0] + 0.01, (piece, times)


def _seconds(text: str) -> float:
    began = time.thread_time()
    mask_text(text)
    return time.thread_time() - began
