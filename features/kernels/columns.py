"""Transactions of a batch as columns: the fields that the kernels need, hashed and typed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from features.identity import identity_of
from features.transaction import CHANNELS

CHANNEL_NUMBERS: dict[str, float] = {name: float(number) for number, name in enumerate(CHANNELS)}
NAN = float("nan")


class TransactionLike(Protocol):
    """The fields of a transaction from which features are computed."""

    @property
    def transaction_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def card_id(self) -> str: ...
    @property
    def merchant_id(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def device_id(self) -> str | None: ...
    @property
    def mcc(self) -> str | None: ...
    @property
    def channel(self) -> str | None: ...
    @property
    def country(self) -> str | None: ...
    @property
    def latitude(self) -> float | None: ...
    @property
    def longitude(self) -> float | None: ...


#: a payment as the kernels need it. Hashes are CRC-32, 0 if absent; ``offset`` is the offset in its source partition, -1 if
#: it has none; absent numbers are NaN
PAYMENT = np.dtype(
    [
        ("event_ms", "<i8"), ("offset", "<i8"), ("amount", "<i8"), ("latitude", "<f8"), ("longitude", "<f8"),
        ("id_hash", "<u4"), ("merchant_hash", "<u4"), ("device_hash", "<u4"), ("country", "<u4"),
        ("channel", "<f4"), ("mcc", "<f4"), ("currency", "<f4"), ("unused", "<f4"),
    ],
    align=True,
)  # fmt: skip
Payments = npt.NDArray[np.void]


def text_hash(text: str) -> int:
    """CRC-32 of the text, never 0."""
    return crc32(text.encode()) or 1


@lru_cache(maxsize=2048)
def country_code(country: str | None) -> int:
    """Two letters as a number above 0; 0 if absent."""
    if not country:
        return 0
    return (ord(country[0]) * 256 + ord(country[-1])) & 0xFFFF


@lru_cache(maxsize=2048)
def mcc_number(mcc: str | None) -> float:
    """The merchant category code as a number; NaN if absent or not a number."""
    return float(mcc) if mcc and mcc.isdecimal() and mcc.isascii() else NAN


@lru_cache(maxsize=2048)
def currency_number(currency: str) -> float:
    """Three letters as a number in base 26 (AAA is 0); NaN if they are not three letters A to Z."""
    if len(currency) != 3 or not all("A" <= letter <= "Z" for letter in currency):
        return NAN
    a, b, c = (ord(letter) - 65 for letter in currency)
    return float((a * 26 + b) * 26 + c)


def columns_of(
    transactions: Sequence[TransactionLike],
    event_ms: Sequence[int] | npt.NDArray[np.int64],
    offsets: Sequence[int] | npt.NDArray[np.int64],
) -> Payments:
    """Parsed transactions as PAYMENT (n,), in the order in which they are applied."""
    # text_hash written out: the calls would be most of a column's cost
    hashes = Hashes(
        [crc32(identity_of(t.tenant, t.transaction_id).encode()) or 1 for t in transactions],
        [crc32(t.merchant_id.encode()) or 1 for t in transactions],
        [crc32(t.device_id.encode()) or 1 if t.device_id else 0 for t in transactions],
    )
    stated = Stated(
        [t.amount_minor for t in transactions], [t.currency for t in transactions], [t.mcc for t in transactions],
        [t.channel for t in transactions], [t.country for t in transactions], [t.latitude for t in transactions],
        [t.longitude for t in transactions],
    )  # fmt: skip
    return payments_of(stated, hashes, event_ms, offsets)


class Hashes(NamedTuple):
    """``text_hash`` of n payments' identity, merchant and device; 0 where there is no device."""

    transactions: Sequence[int] | npt.NDArray[np.uint32]
    merchants: Sequence[int] | npt.NDArray[np.uint32]
    devices: Sequence[int] | npt.NDArray[np.uint32]


class Stated(NamedTuple):
    """What n transactions say beside whose they are and when; as they say it."""

    amount_minor: Sequence[int]
    currency: Sequence[str]
    mcc: Sequence[str | None]
    channel: Sequence[str | None]
    country: Sequence[str | None]
    latitude: Sequence[float | None]
    longitude: Sequence[float | None]


def payments_of(
    stated: Stated,
    hashes: Hashes,
    event_ms: Sequence[int] | npt.NDArray[np.int64],
    offsets: Sequence[int] | npt.NDArray[np.int64],
) -> Payments:
    """``columns_of`` from columns."""
    out = np.zeros(len(stated.amount_minor), dtype=PAYMENT)
    out["event_ms"] = event_ms
    out["offset"] = offsets
    out["amount"] = stated.amount_minor
    out["id_hash"], out["merchant_hash"], out["device_hash"] = hashes
    out["country"] = list(map(country_code, stated.country))
    # None becomes NaN
    out["latitude"] = np.array(stated.latitude, dtype=np.float64)
    out["longitude"] = np.array(stated.longitude, dtype=np.float64)
    out["channel"] = [CHANNEL_NUMBERS[channel] if channel else NAN for channel in stated.channel]
    out["mcc"] = list(map(mcc_number, stated.mcc))
    out["currency"] = list(map(currency_number, stated.currency))
    return out


def moments(event_ms: npt.NDArray[np.int64]) -> Payments:
    """No payments, only their moments, PAYMENT (n,): whatever a payment would say is absent (``features.kernels.payer.BEFORE``)."""
    out = np.zeros(len(event_ms), dtype=PAYMENT)
    out["event_ms"], out["offset"] = event_ms, -1
    for name in ("latitude", "longitude", "channel", "mcc", "currency"):
        out[name] = NAN
    return out
