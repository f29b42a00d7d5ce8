"""Allow, block and watch lists: values of one field with expiry, owner and reason. A match costs one dictionary look-up per row."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from features.identifiers import canonical_id
from models.policy.problems import PolicyError
from models.policy.rules.columns import Batch, Mask

Kind = Literal["block", "allow", "watch"]
#: an identifier of the payment, or a text among its attributes
ListField = Annotated[
    str, Meta(pattern=r"^(card_id|merchant_id|customer_id|device_id|ip|attributes\.[a-z][a-z0-9_]{0,31})$")
]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Owner = Annotated[str, Meta(min_length=1, max_length=64)]
Moment = Annotated[datetime, Meta(tz=True)]
#: value -> expiry, ms since 1970
Values = dict[str, int]
#: (version, prefix length) -> network's number -> expiry
Networks = dict[tuple[int, int], dict[int, int]]
#: limit over all lists of a policy together
MAX_ENTRIES = 200_000
#: ::ffff:0:0/96, IPv4 inside IPv6: its first bits as a number, and their count
_MAPPED, _MAPPED_LENGTH = 0xFFFF, 96


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One value. Absent fields are taken from the list; an expiry must be set in one of the two."""

    value: Annotated[str, Meta(min_length=1, max_length=64)]
    expires: Moment | None = None
    owner: Owner | None = None
    reason: str = ""


class PolicyList(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """``block`` declines, ``allow`` approves, ``watch`` gives at least a review. ``tenants`` empty: all tenants.

    A value in a list of ``ip`` may be a range, such as 203.0.113.0/24.
    """

    name: Name
    kind: Kind
    field: ListField
    owner: Owner
    entries: tuple[Entry, ...]
    reason: str = ""
    expires: Moment | None = None
    tenants: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActiveList:
    """A list in executable form."""

    name: str
    kind: Kind
    field: str
    tenants: frozenset[str]
    values: Values
    networks: Networks
    source: PolicyList

    def entry(self, value: str, now_ms: float) -> Entry | None:
        """The valid entry that a value on the list is matched by."""
        if self.field != "ip":
            return self._entries.get(value)
        version, bits, address = _address(value)
        for (of_version, length), networks in self.networks.items():
            number = address >> max(0, bits - length)
            if of_version == version and now_ms < networks.get(number, 0):
                return self._entries.get(((version, length), number))
        return None

    @cached_property
    def _entries(self) -> dict[Any, Entry]:
        key: Callable[[PolicyList, Entry], Any] = _network if self.field == "ip" else _identifier
        return {key(self.source, entry): entry for entry in self.source.entries}

    def match(self, batch: Batch, now_ms: float) -> Mask:
        """The rows on the list at ``now_ms``; an entry is valid before its expiry.

        Raises:
            FieldUnknown: the rows have no such field.
        """
        column = batch.text(self.field)
        rows: list[int] = []
        # usually nothing is found, which one call shows
        if not self.values.keys().isdisjoint(column):
            rows = [row for row, value in enumerate(column) if now_ms < self.values.get(value or "", 0)]
        if self.networks:
            rows += self._in_networks(column, now_ms)
        found = np.zeros(batch.rows, np.bool_)
        found[rows] = True
        if rows and self.tenants:
            tenants = batch.text("tenant")
            found[[row for row in rows if tenants[row] not in self.tenants]] = False
        return found

    def _in_networks(self, column: Sequence[str | None], now_ms: float) -> list[int]:
        rows = []
        for row, text in enumerate(column):
            if text is None:
                continue
            version, bits, address = _address(text)
            for (of_version, length), networks in self.networks.items():
                if of_version == version and now_ms < networks.get(address >> (bits - length), 0):
                    rows.append(row)
                    break
        return rows


def activate(lists: Iterable[PolicyList]) -> list[ActiveList]:
    """Lists in executable form.

    Raises:
        PolicyError: an entry without expiry, a repeated value, an invalid range, too many entries.
    """
    out = []
    count = 0
    for found in lists:
        count += len(found.entries)
        if count > MAX_ENTRIES:
            raise PolicyError(f"lists hold more than {MAX_ENTRIES} entries together: remove expired ones")
        values: Values = {}
        networks: Networks = {}
        for entry in found.entries:
            add_entry(found, entry, values, networks)
        out.append(
            ActiveList(found.name, found.kind, found.field, frozenset(found.tenants), values, networks, found)
        )
    return out


def add_entry(found: PolicyList, entry: Entry, values: Values, networks: Networks) -> None:
    """Add one entry of a list to the values and networks of its executable form.

    Raises:
        PolicyError: it has no expiry, is repeated or is an invalid range.
    """
    expires_ms = _expiry_ms(found, entry)
    if found.field == "ip":
        place, number = _network(found, entry)
        _put(found, entry, networks.setdefault(place, {}), number, expires_ms)
    else:
        _put(found, entry, values, _identifier(found, entry), expires_ms)


def _put(found: PolicyList, entry: Entry, target: dict, key: str | int, expires_ms: int) -> None:
    if key in target:
        raise PolicyError(f"list {found.name}: {entry.value} occurs twice: keep one entry")
    target[key] = expires_ms


def _expiry_ms(found: PolicyList, entry: Entry) -> int:
    expires = entry.expires or found.expires
    if expires is None:
        raise PolicyError(
            f"list {found.name}: {entry.value} has no expiry: set one for the entry or the list: expires = 2027-01-31T00:00:00Z"
        )
    return int(expires.timestamp() * 1000)


def _identifier(found: PolicyList, entry: Entry) -> str:
    """The value as transactions carry it."""
    try:
        return canonical_id(entry.value)
    except ValueError as error:
        raise PolicyError(
            f"list {found.name}: {entry.value!r} {error}: no transaction has such a value"
        ) from None


def _network(found: PolicyList, entry: Entry) -> tuple[tuple[int, int], int]:
    """(version, prefix length) and number of a range. IPv4 inside IPv6 counts as IPv4."""
    try:
        network = ipaddress.ip_network(entry.value)
    except ValueError as error:
        raise PolicyError(
            f"list {found.name}: {error}: write an address, or a range such as 203.0.113.0/24"
        ) from None
    bits, length = network.max_prefixlen, network.prefixlen
    first = int(network.network_address)
    if network.version == 6 and length >= _MAPPED_LENGTH and first >> 32 == _MAPPED:
        return (4, length - _MAPPED_LENGTH), (first & 0xFFFFFFFF) >> (bits - length)
    return (network.version, length), first >> (bits - length)


def _address(text: str) -> tuple[int, int, int]:
    """(version, bits, number) of an address; version 0 if it is not one. IPv4 inside IPv6 counts as IPv4."""
    try:
        if ":" not in text:
            return 4, 32, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
        number = int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big")
    except (OSError, ValueError):
        return 0, 128, 0
    return (4, 32, number & 0xFFFFFFFF) if number >> 32 == _MAPPED else (6, 128, number)
