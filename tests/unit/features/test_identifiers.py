"""One canonical form of an identifier and of an address."""

from __future__ import annotations

import unicodedata
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.identifiers import MAX_LENGTH, canonical_id, canonical_ip, is_canonical_ipv4


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("card-42", "card-42"),
        ("  card-42 ", "card-42"),
        ("a b", "a b"),
        ("2026/00017", "2026/00017"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u212bngstr\u00f6m", "\u00c5ngstr\u00f6m"),
        ("\u5e97 7", "\u5e97 7"),
    ],
)
def test_one_thing_has_one_name(text: str, canonical: str) -> None:
    assert canonical_id(text) == canonical == canonical_id(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "a\tb", "a\nb", "a\x00b", "a\x7fb", "a\x85b", "a\u00a0b", "a\u2009b", "a\u2028b",
        # marks without width, direction marks and their isolates, soft hyphen, byte order mark
        "a\u200bb", "a\u200db", "a\u200eb", "a\u202eb", "a\u2066b", "a\u00adb", "\ufeffa",
        # private, unassigned, half of a pair
        "a\ue000b", "a\u0378b", "a\ud800b",
        "a" * (MAX_LENGTH + 1),
        # 33 letters that are two each in composed form
        "\u0958" * 33,
    ],
)  # fmt: skip
def test_what_cannot_be_read_or_found_is_no_identifier(text: str) -> None:
    with pytest.raises(ValueError):
        canonical_id(text)


@given(st.text(min_size=1, max_size=70))
def test_a_canonical_form_is_its_own(text: str) -> None:
    try:
        canonical = canonical_id(text)
    except ValueError:
        return
    assert canonical_id(canonical) == canonical == unicodedata.normalize("NFC", canonical)
    assert canonical.isprintable() and 1 <= len(canonical) <= MAX_LENGTH
    assert canonical == canonical.strip()


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("::1", "::1"),
    ],
)
def test_an_address_is_one_thing(text: str, canonical: str) -> None:
    assert canonical_ip(text) == canonical == canonical_ip(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "", "999.1.1.1", "1.2.3", "1.2.3.4.5", "1.2.3.04", "0x1.2.3.4", "1.2.3.4:80", "[::1]", "fe80::1%eth0", "::ffff:999.1.1.1",
        "2001:db8::1::2", "localhost", "1.2.3.4/32", "١.٢.٣.٤", "1.2.3.4\x00", "ip-7", "16909060",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        canonical_ip(text)


@given(st.ip_addresses())
def test_an_address_has_one_form_in_whatever_way_it_is_written(address: IPv4Address | IPv6Address) -> None:
    canonical = canonical_ip(str(address))
    assert canonical_ip(address.exploded.upper()) == canonical
    assert is_canonical_ipv4(str(address)) == isinstance(address, IPv4Address)
    mapped = getattr(address, "ipv4_mapped", None)
    assert ip_address(canonical) == (mapped or address)
