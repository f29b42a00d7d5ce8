"""Profiles in readable form: windows, habits, last events. Pure: stored records in, plain values out."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.catalogue import FEATURES, WIDTH, WINDOWS
from features.kernels.columns import PAYMENT
from features.kernels.payer import DAY_MS, WINDOWS_MS
from features.kernels.shared_entity import SHARED_ENTITIES, THIRD_MS, fraud_features, shared_entity_features
from features.profile.records import OLD
from features.transaction import from_ms, rfc3339

LAST_EVENTS = 10


def describe_payer(payer: Any, frauds: Any, at_ms: int) -> dict[str, Any]:
    """A card's or customer's profile at a time.

    Args:
        payer: an arena of PAYER; its first record is described.
        frauds: an arena of FRAUDS; its first record is the payer's.
        at_ms: events in (at - window, at] are counted; later ones are left out.
    """
    profile = payer[0]
    n, old = int(profile["n"]), int(profile["old_n"])
    recent = profile["recent"][:n]
    place = (int(profile["old_first"]) + np.arange(old)) % OLD
    times = int(profile["base_ms"]) + np.concatenate([recent["t"], profile["old_t"][place]]).astype(np.int64)
    low = np.concatenate([recent["amount"], profile["old_amount"][place]]).astype(np.int64)
    high = np.concatenate([recent["amount_high"], profile["old_high"][place]]).astype(np.int64)
    amounts = low + (high << 32)
    counts = np.concatenate([np.ones(n, np.int64), profile["old_count"][place].astype(np.int64)])
    age = at_ms - times
    windows = {}
    for name, width in zip(WINDOWS, WINDOWS_MS.tolist(), strict=True):
        inside = (age >= 0) & (age < width)
        total = int(amounts[inside].sum())
        windows[name] = {"count": int(counts[inside].sum()), "sum_minor": total}
    order = [int(i) for i in np.argsort(-times[:n], kind="stable") if age[i] >= 0][:LAST_EVENTS]
    hours = profile["hours"]
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    fraud_features(_moment(at_ms), np.array([[0, -1]]), frauds, row)
    reported = _named(row, "card")
    return {
        "first_event": rfc3339(from_ms(int(profile["first_ms"]))),
        "last_event": rfc3339(from_ms(int(profile["last_ms"]))),
        "age_days": round(max(0, at_ms - int(profile["first_ms"])) / DAY_MS, 2),
        "events_kept": int(counts.sum()),
        "windows": windows,
        "frauds_30d": int(reported["card_frauds_30d"] or 0),
        "declined_1h": int(reported["card_declined_1h"] or 0),
        "usual_country": _country(int(profile["home_country"])) if profile["home_votes"] > 0 else None,
        "usual_place": _place(profile, "home"),
        "last_place": _place(profile, "place"),
        "merchants_remembered": int(np.count_nonzero(profile["merchants"])),
        "devices_remembered": int(np.count_nonzero(profile["devices"])),
        "countries_remembered": [_country(int(v) & 0xFFFF) for v in profile["countries"] if v],
        "usual_hours_utc": [int(h) for h in np.argsort(-hours, kind="stable")[:3] if hours[h]],
        "last_events": [
            {"time": rfc3339(from_ms(int(times[i]))), "amount_minor": int(amounts[i])} for i in order
        ],
        "applied_offset": int(profile["offset"]),
    }


def describe_shared_entity(arena: Any, entity: str, at_ms: int) -> dict[str, Any]:
    """A merchant's, device's or address' profile at a time: its features by catalogue name.

    Args:
        arena: an arena of SHARED_ENTITY; its first record is described.
    """
    profile = arena[0]
    slots = np.full((1, 3), -1, dtype=np.int64)
    slots[0, SHARED_ENTITIES.index(entity)] = 0
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    shared_entity_features(_moment(at_ms), slots, arena, row)
    counted: dict[str, int] = {}
    newest, tiles = int(profile["third"]), profile["third_fraud"]
    for third in range(max(0, newest - len(tiles) + 1), newest + 1):
        if count := int(tiles[third % len(tiles)]):
            day = rfc3339(from_ms(third * THIRD_MS))[:10]
            counted[day] = counted.get(day, 0) + count
    return {
        "first_event": rfc3339(from_ms(int(profile["first_ms"]))),
        "last_event": rfc3339(from_ms(int(profile["last_ms"]))),
        "features": _named(row, entity),
        "frauds_by_day": counted,
        "applied_offset": int(profile["offset"]),
    }


def last_event_ms(arena: Any) -> int:
    """Event time of the newest transaction in a profile, ms."""
    return int(arena[0]["last_ms"])


def _moment(at_ms: int) -> Any:
    """An empty payment at a time, PAYMENT (1,)."""
    payment = np.zeros(1, dtype=PAYMENT)
    payment["event_ms"] = at_ms
    return payment


def _named(row: Any, entity: str) -> dict[str, float | None]:
    """The entity's features in a row (1, WIDTH) that need no payment, by name; None where unknown."""
    return {
        feature.name: None if np.isnan(value) else round(float(value), 6)
        for feature, value in zip(FEATURES, row[0], strict=True)
        if feature.entity == entity and not feature.needs_transaction
    }


def _country(code: int) -> str:
    return chr(code // 256) + chr(code % 256)


def _place(profile: Any, name: str) -> list[float] | None:
    if not profile["places"]:
        return None
    return [round(float(profile[f"{name}_lat"]), 4), round(float(profile[f"{name}_lon"]), 4)]
