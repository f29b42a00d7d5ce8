"""The catalogue's texts about errors and late payments, for people. No hash and no code depends on these sentences."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86400

EXACT = "none"
GROUPS = (
    "Exact while no 31 days up to the payment held more than 130 payments. Beyond that, the oldest payments are kept in groups, and"
    " a window counts a group as a whole: at its far end it may count one group too many, and for a late payment it leaves out the"
    " group that ended after the payment. Where every group would exceed 2^40 minor units, the oldest payments are left out instead."
)
GROUP_MEANS = GROUPS + " Largest amount and spread take each payment of a group to be the group's mean."
ROUNDED = " Rounding adds a relative error of up to 1e-6."
NEWEST_40 = "Counts only among the newest 40 payments."
HASHED = NEWEST_40 + " Values are kept as short hashes: any two count as one with a probability of 1/{odds}."
COUNTRIES = (
    NEWEST_40
    + " Two countries whose letters add up to the same number, such as FR and ES, count as one; that is one pair in 39."
)
FIRSTS = (
    "Exact while at most {others} other {plural} have come since the first payment with this one; after that, a known one may"
    " count as new."
)
FIRST_MERCHANTS = FIRSTS + " Merchants of the newest 40 payments are always known."
SINCE_LAST = (
    "For a late payment, only the 31 days before the newest payment are known. Where these held more than 130 payments, only the"
    " newest one of each group is."
)
PLACES = "Places are kept in single precision, to about one metre."
USUAL_PLACE = "The usual place is a running mean over about the last 50 payments that have a place."
USUAL_COUNTRY = "The usual country is the candidate of the majority vote of Boyer and Moore: certain only above half of the payments."
HALVED = "All counts are halved when one reaches 65535, so older payments weigh less from then on."
CATEGORIES = "Only 8 categories are counted (Misra and Gries), so a share may be up to 1/9 too low. " + HALVED
TILES = (
    "The window is made of whole tiles of {tile} and ends with the tile that holds the payment. So it leaves out up to one tile at"
    " its beginning, and for a late payment it includes what happened later within the payment's own tile."
)
DELAYED = (
    "The window is made of whole tiles of {tile} and ends with the last whole tile before the moment 7 days ago, so it lies up to"
    " one tile earlier than its name says."
)
FIRST_TILE_LACKING = " For a payment behind the newest one, the first tile of the window may be missing."
SKETCH = (
    "An estimate (linear counting in 128 buckets, whole minutes) with a standard error of 9 % up to 200 cards; it never exceeds 621."
    " For a late payment, cards that paid again after it are not counted."
)
SKETCH_WEEK = SKETCH + " Payments more than a week behind the newest one are not counted."
BURST = "It has the errors of {entity}_count_1h and {entity}_count_7d, from which it is computed."

ALONE = "Depends on this payment alone, so it is the same however late the payment comes."
PLACED = "A late payment counts at its own event time as soon as it has arrived. Decisions made before that stay as they were."
PLACED_IN_LISTS = (
    PLACED
    + " It is not counted if it has the time and amount of a payment older than the newest 40, since it may be a repetition."
    " A payment more than a day late does not see what lies more than 31 days before the newest payment."
)
IN_ORDER = "Unknown for a payment that is older than the newest one. Such a late payment does not change it."
IN_ORDER_BUT_COUNTED = "Unknown for a payment that is older than the newest one. Such a late payment still counts for later payments."
KEPT = (
    "Known for a payment up to {kept} behind the newest{of}, unknown from one tile further on. A late event counts if its tile is"
    " still kept."
)
CARDS_KEPT = "Known for a payment up to {kept} behind the newest, unknown from one minute further on."


def span(seconds: int) -> str:
    """Seconds, a whole number of minutes, in words: "7 days 8 hours"."""
    parts = []
    for unit, size in (("day", DAY), ("hour", HOUR), ("minute", MINUTE)):
        many, seconds = divmod(seconds, size)
        if many:
            parts.append(f"{many} {unit}{'s' if many > 1 else ''}")
    return " ".join(parts)
