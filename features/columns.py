"""A micro-batch as columns: what the kernel needs of each transaction, hashed and typed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

CHANNELS = {"pos": 0.0, "ecom": 1.0, "atm": 2.0, "transfer": 3.0, "moto": 4.0}
NAN = float("nan")


class TransactionLike(Protocol):
    """The fields of a transaction that features are made of."""

    @property
    def transaction_id(self) -> str: ...
    @property
    def card_id(self) -> str: ...
    @property
    def merchant_id(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
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


class Columns(NamedTuple):
    """Columns of n transactions in the order in which they are applied. Hashes are CRC-32; 0 means absent."""

    event_ms: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    amount: npt.NDArray[np.int64]
    id_hash: npt.NDArray[np.uint32]
    merchant_hash: npt.NDArray[np.uint32]
    device_hash: npt.NDArray[np.uint32]
    country: npt.NDArray[np.uint16]
    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]
    channel: npt.NDArray[np.float32]
    mcc: npt.NDArray[np.float32]


def text_hash(text: str) -> int:
    """CRC-32 of the text, never 0."""
    return crc32(text.encode()) or 1


def country_code(country: str | None) -> int:
    """Two letters as one number from 1 on; 0 when absent."""
    if not country:
        return 0
    return (ord(country[0]) * 256 + ord(country[-1])) & 0xFFFF


def mcc_number(mcc: str | None) -> float:
    """The merchant category code as a number; NaN when absent or not a number."""
    return float(mcc) if mcc and mcc.isdecimal() and mcc.isascii() else NAN


def columns_of(
    transactions: Sequence[TransactionLike], event_ms: Sequence[int], offsets: Sequence[int]
) -> Columns:
    """Columns of parsed transactions; ``offsets`` are those of their source partition, -1 when there is none."""
    return Columns(
        np.array(event_ms, dtype=np.int64),
        np.array(offsets, dtype=np.int64),
        np.array([t.amount_minor for t in transactions], dtype=np.int64),
        np.array([text_hash(t.transaction_id) for t in transactions], dtype=np.uint32),
        np.array([text_hash(t.merchant_id) for t in transactions], dtype=np.uint32),
        np.array([text_hash(t.device_id) if t.device_id else 0 for t in transactions], dtype=np.uint32),
        np.array([country_code(t.country) for t in transactions], dtype=np.uint16),
        np.array([NAN if t.latitude is None else t.latitude for t in transactions], dtype=np.float64),
        np.array([NAN if t.longitude is None else t.longitude for t in transactions], dtype=np.float64),
        np.array([CHANNELS[t.channel] if t.channel else NAN for t in transactions], dtype=np.float32),
        np.array([mcc_number(t.mcc) for t in transactions], dtype=np.float32),
    )
