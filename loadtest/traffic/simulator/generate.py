"""Generates the traffic of a world over a span of time as a history table: transactions, labels and the true kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.transaction import CHANNELS, epoch_ms
from loadtest.traffic.simulator import catalog
from loadtest.traffic.simulator.fraud import SHARES, compromise, fraud_payments
from loadtest.traffic.simulator.payments import DAY_MS, Ints, Payments, honest_payments, join
from loadtest.traffic.simulator.switches import ATTACK_SHARE, Attack, Drift, apply_drift
from loadtest.traffic.simulator.world import World

TIMESTAMP = pa.timestamp("ms", tz="UTC")
LABEL_SOURCES = ("chargeback", "customer", "analyst")


@dataclass(frozen=True)
class Labels:
    """How many labels arrive, and when. Delays in days are log-normal: most within a week or two, a few much later."""

    fraud_told: float = 0.9
    legit_told: float = 0.1
    median_days: float = 4.0
    sigma: float = 0.7


@dataclass(frozen=True)
class Plan:
    """Fraud, drift and attacks to add to honest traffic. ``fraud_rate`` is the share of fraudulent payments without attacks."""

    fraud_rate: float = 0.008
    labels: Labels = field(default_factory=Labels)
    drifts: Sequence[Drift] = ()
    attacks: Sequence[Attack] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.fraud_rate <= 0.5:
            raise ValueError(f"a fraud rate lies between 0 and 0.5, not {self.fraud_rate}")


def history_table(
    world: World,
    start: datetime,
    end: datetime,
    *,
    plan: Plan | None = None,
    count: int | None = None,
    stream: int = 0,
    id_prefix: str = "tx",
) -> pa.Table:
    """Transactions of [start, end) in order of event time, with labels and true kinds.

    ``count`` is the number of rows (default: from the payment rates of the cards). ``stream`` numbers independent spans of
    one world, so that live traffic does not repeat the random draws of a history. Columns: those of a history table,
    ``label_source``, and the true kind: ``is_fraud``, ``fraud_kind`` (null: honest).

    Raises:
        ValueError: the span is empty, ``count`` negative, or the prefix does not consist of 1 to 24 ASCII letters.
    """
    start_ms, end_ms = epoch_ms(start), epoch_ms(end)
    if end_ms <= start_ms:
        raise ValueError(f"the span from {start} to {end} is empty")
    if not (id_prefix.isascii() and id_prefix.isalpha() and len(id_prefix) <= 24):
        raise ValueError(f"an id prefix is 1 to 24 ASCII letters, not {id_prefix!r}")
    rng = np.random.default_rng([world.seed, 0x_6E4, stream])
    if count is None:
        count = int(rng.poisson(world.payments_per_second * (end_ms - start_ms) / 1000))
    if count < 0:
        raise ValueError(f"a count is not negative: {count}")
    payments = _payments(world, rng, start_ms, end_ms, count, plan or Plan())
    return _table(world, rng, payments, (plan or Plan()).labels, id_prefix)


def _payments(
    world: World, rng: np.random.Generator, start_ms: int, end_ms: int, count: int, plan: Plan
) -> Payments:
    wanted = {kind: count * plan.fraud_rate * share for kind, share in SHARES.items()}
    parts = [
        fraud_payments(world, rng, kind, start_ms, end_ms, round(wanted[kind]))
        for kind in SHARES
        if kind != "compromised_merchant"
    ]
    attacked: list[tuple[int, int]] = []
    for attack in plan.attacks:
        begin = max(start_ms, attack.at_ms)
        extra = round(count * (end_ms - begin) / (end_ms - start_ms) * ATTACK_SHARE * attack.strength)
        if extra <= 0:
            continue
        if attack.kind == "compromised_merchant":
            attacked.append((begin, extra))
        else:
            parts.append(fraud_payments(world, rng, attack.kind, begin, end_ms, extra))
    fraud = join(parts)
    if len(fraud) > count:
        fraud = fraud.take(rng.permutation(len(fraud))[:count])
    honest = honest_payments(world, rng, start_ms, end_ms, count - len(fraud))
    for drift in plan.drifts:
        apply_drift(world, rng, honest, drift)
    compromise(world, rng, honest, start_ms, end_ms, round(wanted["compromised_merchant"]))
    for begin, extra in attacked:
        compromise(world, rng, honest, begin, end_ms, extra)
    everything = join([honest, fraud])
    return everything.take(np.argsort(everything.event_ms, kind="stable"))


def _table(
    world: World, rng: np.random.Generator, payments: Payments, labels: Labels, prefix: str
) -> pa.Table:
    count, tag = len(payments), world.tag
    label, label_ms, source = _labels(rng, payments, labels)
    number = pa.array(np.arange(count))
    home = world.cards.country[payments.card]
    merchant_mcc = world.merchants.category[payments.merchant]
    columns = {
        "transaction_id": _named(f"{prefix}-", number),
        "event_time": pa.array(payments.event_ms).cast(TIMESTAMP),
        "card_id": _named(f"card-{tag}", pa.array(payments.card)),
        "merchant_id": _named(f"m-{tag}", pa.array(payments.merchant)),
        "amount_minor": pa.array(payments.amount_minor),
        "currency": _coded([c.currency for c in catalog.COUNTRIES], home),
        "customer_id": _named(f"cu-{tag}", pa.array(world.cards.customer[payments.card])),
        "device_id": _named(f"d-{tag}", pa.array(payments.device, mask=payments.device < 0)),
        "ip": _addresses(payments.ip),
        "mcc": _coded(catalog.MCC, merchant_mcc),
        "channel": _coded(list(CHANNELS), payments.channel),
        "country": _coded(catalog.CODES, payments.country),
        "latitude": _places(payments.latitude),
        "longitude": _places(payments.longitude),
        "tenant": pa.repeat(pa.scalar("default"), count),
        "label": _coded(["legit", "fraud"], label, label < 0),
        "label_time": pa.array(label_ms, mask=label < 0).cast(TIMESTAMP),
        "label_source": _coded(list(LABEL_SOURCES), source, label < 0),
        "is_fraud": pa.array(payments.kind >= 0),
        "fraud_kind": _coded(list(catalog.FRAUD_KINDS), payments.kind, payments.kind < 0),
    }
    return pa.table(columns)


def _labels(rng: np.random.Generator, payments: Payments, labels: Labels) -> tuple[Ints, Ints, Ints]:
    """For each payment: label (-1 none, 0 legit, 1 fraud), label time, source."""
    count, fraud = len(payments), payments.kind >= 0
    told = rng.random(count) < np.where(fraud, labels.fraud_told, labels.legit_told)
    delay = labels.median_days * np.exp(labels.sigma * rng.standard_normal(count))
    label_ms = payments.event_ms + (delay.clip(0.04, 60) * DAY_MS).astype(np.int64)
    by = np.where(fraud, rng.choice(3, count, p=[0.75, 0.2, 0.05]), 2)
    return np.where(told, fraud.astype(np.int64), -1), label_ms, by


def _named(prefix: str, numbers: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(prefix, numbers.cast(pa.string()), "")


def _coded(
    names: list[str], index: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    return pa.array(names).take(pa.array(index, mask=mask).cast(pa.int32()))


def _places(degrees: npt.NDArray[np.float32]) -> pa.Array:
    rounded = np.round(degrees.astype(np.float64), 4)
    return pa.array(rounded, mask=np.isnan(rounded))


def _addresses(ips: Ints) -> pa.Array:
    """IP addresses as text; null where negative."""
    unique, inverse = np.unique(ips, return_inverse=True)
    parts = [pa.array((unique >> shift) & 255).cast(pa.string()) for shift in (24, 16, 8, 0)]
    return pc.binary_join_element_wise(*parts, ".").take(pa.array(inverse, mask=ips < 0))
