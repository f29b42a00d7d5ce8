"""The one canonical form of an identifier and of an IP address. Every edge applies it, so that one thing has one name everywhere:
in velocity, lists, rules, links, topics and look-ups.

An identifier is 1 to 64 printable characters in Unicode's composed form (NFC), without blanks at its ends. Printable is what
``str.isprintable`` says: no control, format (zero-width, direction marks), private or unassigned characters, no lone surrogates, and of the
blanks only the plain space. An IP address is written as RFC 5952 says; an IPv4 address inside IPv6 is that IPv4 address.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, inet_pton

MAX_LENGTH = 64
#: recently seen addresses other than IPv4; each takes about 250 bytes
_KEPT = 8192


def canonical_id(text: str) -> str:
    """The canonical form of an identifier.

    Raises:
        ValueError: it has none; the text says why.
    """
    found = text.strip(" ") if text.isascii() else unicodedata.normalize("NFC", text).strip(" ")
    if not found.isprintable():
        raise ValueError("holds unprintable characters")
    if not found:
        raise ValueError("is blank")
    if len(found) > MAX_LENGTH:
        raise ValueError(f"has more than {MAX_LENGTH} characters")
    return found


def canonical_ip(text: str) -> str:
    """The canonical form of an IP address.

    Raises:
        ValueError: it is none.
    """
    return text if is_canonical_ipv4(text) else _canonical_ip(text)


def is_canonical_ipv4(text: str) -> bool:
    """Whether a text is an IPv4 address: four numbers without leading zeros, of which there is one form."""
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


@lru_cache(_KEPT)
def _canonical_ip(text: str) -> str:
    try:
        address = ip_address(text.strip(" "))
    except ValueError:
        raise ValueError("is not an IPv4 or IPv6 address") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError("has a zone, which means something on one machine only")
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return str(address)
