"""Transactions of a batch as columns: the fields that the kernels need, hashed and typed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from features.transaction import CHANNELS

CHANNEL_NUMBERS: dict[str, float] = {name: float(number) for number, name in enumerate(CHANNELS)}
NAN = float("nan")


class TransactionLike(Protocol):
    """The fields of a transaction from which features are computed."""

    @property
    def transaction_id(self) -> str: ...
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


def country_code(country: str | None) -> int:
    """Two letters as a number above 0; 0 if absent."""
    if not country:
        return 0
    return (ord(country[0]) * 256 + ord(country[-1])) & 0xFFFF


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
    out = np.zeros(len(transactions), dtype=PAYMENT)
    out["event_ms"] = event_ms
    out["offset"] = offsets
    out["amount"] = [t.amount_minor for t in transactions]
    # text_hash written out: the calls would be most of a column's cost
    out["id_hash"] = [crc32(t.transaction_id.encode()) or 1 for t in transactions]
    out["merchant_hash"] = [crc32(t.merchant_id.encode()) or 1 for t in transactions]
    out["device_hash"] = [crc32(t.device_id.encode()) or 1 if t.device_id else 0 for t in transactions]
    out["country"] = [country_code(t.country) for t in transactions]
    out["latitude"] = [NAN if t.latitude is None else t.latitude for t in transactions]
    out["longitude"] = [NAN if t.longitude is None else t.longitude for t in transactions]
    out["channel"] = [CHANNEL_NUMBERS[t.channel] if t.channel else NAN for t in transactions]
    out["mcc"] = [mcc_number(t.mcc) for t in transactions]
    out["currency"] = [currency_number(t.currency) for t in transactions]
    return out


def moments(event_ms: npt.NDArray[np.int64]) -> Payments:
    """No payments, only their moments, PAYMENT (n,): whatever a payment would say is absent (``features.kernels.payer.BEFORE``)."""
    out = np.zeros(len(event_ms), dtype=PAYMENT)
    out["event_ms"], out["offset"] = event_ms, -1
    for name in ("latitude", "longitude", "channel", "mcc", "currency"):
        out[name] = NAN
    return out
