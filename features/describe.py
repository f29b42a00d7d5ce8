"""Profiles as a person reads them: windows, habits, last events. Pure: stored records in, plain values out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from features.card_kernel import DAY_MS, WINDOWS_MS
from features.catalogue import FEATURES, WIDTH
from features.entity_kernel import entity_features
from features.profiles import entity_state

WINDOW_NAMES = ("10m", "1h", "24h", "7d", "30d")
ENTITY_KINDS = ("merchant", "device", "ip", "customer")
LAST_EVENTS = 10


def describe_card(card: Any, frauds: Any, at_ms: int) -> dict[str, Any]:
    """A card's profile as of a moment.

    Args:
        card: an arena of CARD with one record.
        frauds: an arena of ENTITY with one record, the card's fraud history.
        at_ms: events in (at - window, at] count; later ones are left out.
    """
    profile = card[0]
    n = int(profile["n"])
    times = int(profile["base_ms"]) + profile["ring_t"][:n].astype(np.int64)
    amounts = profile["ring_amount"][:n].astype(np.int64) + (
        profile["ring_amount_high"][:n].astype(np.int64) << 32
    )
    age = at_ms - times
    windows = {}
    for name, width in zip(WINDOW_NAMES, WINDOWS_MS.tolist(), strict=True):
        inside = (age >= 0) & (age < width)
        windows[name] = {"count": int(inside.sum()), "sum_minor": int(amounts[inside].sum())}
    order = [int(i) for i in np.argsort(-times, kind="stable") if age[i] >= 0][:LAST_EVENTS]
    hours = profile["hours"]
    return {
        "first_event": instant(int(profile["first_ms"])),
        "last_event": instant(int(profile["last_ms"])),
        "age_days": round(max(0, at_ms - int(profile["first_ms"])) / DAY_MS, 2),
        "events_kept": n,
        "windows": windows,
        "frauds_30d": int(_entity_row(frauds, 4, at_ms)["card_frauds_30d"] or 0),
        "usual_country": _country(int(profile["home_country"])) if profile["home_votes"] > 0 else None,
        "usual_place": _place(profile, "home"),
        "last_place": _place(profile, "place"),
        "devices_remembered": int(np.count_nonzero(profile["devices"])),
        "usual_hours_utc": [int(h) for h in np.argsort(-hours, kind="stable")[:3] if hours[h]],
        "last_events": [{"time": instant(int(times[i])), "amount_minor": int(amounts[i])} for i in order],
        "applied_offset": int(profile["offset"]),
    }


def describe_entity(arena: Any, entity: str, at_ms: int) -> dict[str, Any]:
    """A merchant's, device's, address' or customer's profile as of a moment: its features, by their catalogue names.

    Args:
        arena: an arena of ENTITY with one record.
    """
    profile = arena[0]
    counted = {int(day): int(count) for day, count in _days(profile, "day_fraud") if count}
    return {
        "first_event": instant(int(profile["first_ms"])),
        "last_event": instant(int(profile["last_ms"])),
        "features": _entity_row(arena, ENTITY_KINDS.index(entity), at_ms),
        "frauds_by_day": {instant(day * DAY_MS)[:10]: count for day, count in sorted(counted.items())},
        "applied_offset": int(profile["offset"]),
    }


def last_event_ms(arena: Any) -> int:
    """Event time of the newest transaction in a profile."""
    return int(arena[0]["last_ms"])


def instant(milliseconds: int) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entity_row(arena: Any, kind: int, at_ms: int) -> dict[str, float | None]:
    """What the kernel reads from one entity, without what depends on the transaction's amount."""
    slots = np.full((1, 5), -1, dtype=np.int64)
    slots[0, kind] = 0
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    entity_features(np.array([at_ms], dtype=np.int64), slots, entity_state(arena), row)
    entity = "card" if kind == 4 else ENTITY_KINDS[kind]
    return {
        feature.name: None if np.isnan(value) else round(float(value), 6)
        for feature, value in zip(FEATURES, row[0], strict=True)
        if feature.entity == entity
        and "ratio" not in feature.name
        and (kind != 4 or feature.name == "card_frauds_30d")
    }


def _days(profile: Any, name: str) -> list[tuple[int, int]]:
    tiles = profile[name]
    newest = int(profile["day"])
    return [(day, int(tiles[day % len(tiles)])) for day in range(max(0, newest - len(tiles) + 1), newest + 1)]


def _country(code: int) -> str:
    return chr(code // 256) + chr(code % 256)


def _place(profile: Any, name: str) -> list[float] | None:
    if not profile["places"]:
        return None
    return [round(float(profile[f"{name}_lat"]), 4), round(float(profile[f"{name}_lon"]), 4)]
