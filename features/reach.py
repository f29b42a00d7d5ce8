"""How far back in event time an entry looks, from its catalogue entry: what a log must still hold for it. Pure."""

from __future__ import annotations

from features.catalogue import FEATURES, LABEL_DELAY_S, Feature

#: a window that ended LABEL_DELAY_S ago ends with a tile of a third of a day, and so begins up to one earlier
DELAYED_TILE_MS = 8 * 3_600_000
#: of an entry that counts the whole known history
WHOLE_MS = (1 << 62) - 1


def reach_ms(feature: Feature) -> int:
    """How far behind a payment's event time an entry may look, milliseconds, tiles included; WHOLE_MS without a window."""
    if not feature.window_s:
        return WHOLE_MS
    tile = DELAYED_TILE_MS if feature.label_delay_s == LABEL_DELAY_S else 0
    return 1000 * (feature.window_s + feature.label_delay_s) + tile


#: of the entry with a window that looks back furthest
LONGEST_MS = max(reach_ms(feature) for feature in FEATURES if feature.window_s)
