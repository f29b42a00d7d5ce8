"""All entries of a batch, by the kernels in their order: the one place that online, offline and parity compute through."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import WIDTH
from features.kernels.columns import Payments
from features.kernels.payer import (
    APPLY,
    CARD_COLUMNS,
    CONSULT,
    CUSTOMER_COLUMNS,
    READ,
    payer_features,
    transaction_features,
)
from features.kernels.shared_entity import fraud_features, shared_entity_features
from features.profile.codec import words_of

Arena = npt.NDArray[np.void]
Slots = npt.NDArray[np.int64]


class Profiles(NamedTuple):
    """Arenas of all entities (``features.profile.records``): PAYER, PAYER, SHARED_ENTITY of merchants, devices and ips, FRAUDS of payers."""

    cards: Arena
    customers: Arena
    shared_entities: Arena
    frauds: Arena


class Places(NamedTuple):
    """Which profile each of n payments uses, -1 where it names no such entity: (n,), (n,), (n, 3), (n, 2: card, customer)."""

    cards: Slots
    customers: Slots
    shared_entities: Slots
    frauds: Slots


def fill_features(
    payments: Payments,
    places: Places,
    profiles: Profiles,
    out: npt.NDArray[np.float32],
    seen: npt.NDArray[np.uint8],
    *,
    apply: bool,
) -> None:
    """Fill every entry of n payments; with ``apply`` the cards' profiles hold them afterwards, the others are only read.

    Args:
        out: float32 (n, WIDTH), NaN-filled.
        seen: uint8 (n,), zeros; afterwards what ``features.kernels.payer.payer_features`` says of each card's payment: NEW,
            DUPLICATE (the row means nothing) or POSSIBLE (the row is what it is made of if it is none; it was not applied).
    """
    mode = APPLY if apply else READ
    payer_features(payments, places.cards, profiles.cards, mode, CARD_COLUMNS, out, seen)
    transaction_features(payments, seen, out)
    payer_features(payments, places.customers, profiles.customers, CONSULT, CUSTOMER_COLUMNS, out, seen)
    fraud_features(payments, places.frauds, profiles.frauds, out)
    shared_entity_features(payments, places.shared_entities, profiles.shared_entities, out)


def computed(
    payments: Payments, places: Places, profiles: Profiles, *, apply: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """``fill_features`` into arrays made here: features (n, WIDTH), and ``seen`` (n,)."""
    out = np.full((len(places.cards), WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(len(places.cards), dtype=np.uint8)
    fill_features(payments, places, profiles, out, seen, apply=apply)
    return out, seen


def computed_beside(
    payments: Payments, places: Places, profiles: Profiles
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """``computed`` with ``apply`` for arenas much larger than a processor's cache: on copies, the cards' copied back.

    The kernels jump about in a profile, and each jump into memory that is not in the cache costs what copying half of the profile
    in one go does.
    """
    cards, own = np.unique(places.cards, return_inverse=True)
    customers, theirs = np.unique(places.customers, return_inverse=True)
    shared_entities, where = np.unique(places.shared_entities, return_inverse=True)
    near = Profiles(
        _copied(profiles.cards, cards), _copied(profiles.customers, customers), _copied(profiles.shared_entities, shared_entities),
        profiles.frauds,
    )  # fmt: skip
    local = Places(
        own, np.where(places.customers >= 0, theirs, -1),
        np.where(places.shared_entities >= 0, where.reshape(places.shared_entities.shape), -1), places.frauds,
    )  # fmt: skip
    out = computed(payments, local, near, apply=True)
    words_of(profiles.cards)[cards] = words_of(near.cards)[: len(cards)]
    return out


def _copied(arena: Arena, slots: Slots) -> Arena:
    """Some profiles of an arena, side by side; -1 among the slots gives some profile. Never fewer than two: see ``new_arena``."""
    wanted = slots if len(slots) > 1 else np.resize(slots, 2) if len(slots) else np.zeros(2, dtype=np.int64)
    return np.take(words_of(arena), wanted, axis=0).view(arena.dtype).reshape(-1)


def entities_as_of(places: Places, profiles: Profiles) -> npt.NDArray[np.int64]:
    """Offsets of `entities` last applied to merchant, device, ip and customer of each row, (n, 4); -1 unknown.

    A customer's payments and frauds are read at one moment, so the newer of their two offsets holds for both.
    """
    shared_entities = _offsets(profiles.shared_entities, places.shared_entities)
    payments = _offsets(profiles.customers, places.customers)
    return np.column_stack(
        [shared_entities, np.maximum(payments, _offsets(profiles.frauds, places.frauds[:, 1]))]
    )


def frauds_as_of(places: Places, profiles: Profiles) -> npt.NDArray[np.int64]:
    """Offsets of `entities` last applied to the fraud history of each row's card, (n,); -1 unknown."""
    return _offsets(profiles.frauds, places.frauds[:, 0])


def _offsets(arena: Arena, slots: Slots) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = np.where(slots >= 0, arena["offset"][slots], -1)
    return found
