"""Computes all features of a batch with the kernels, in their order. Online, offline and parity all use it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from features.catalogue import WIDTH
from features.kernels.columns import Payments, moments
from features.kernels.payer import (
    APPLY,
    BEFORE,
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
    """The arenas of all entities (``features.profile.records``): PAYER, PAYER, SHARED_ENTITY for merchants, devices and ips, FRAUDS."""

    cards: Arena
    customers: Arena
    shared_entities: Arena
    frauds: Arena


class Places(NamedTuple):
    """The profile slots of n payments, -1 if the entity is absent: (n,), (n,), (n, 3), (n, 2: card, customer)."""

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
    """Fill all features of n payments. With ``apply`` the payments are added to the cards' profiles; all others are only read.

    Args:
        out: float32 (n, WIDTH), NaN-filled.
        seen: uint8 (n,), zeros, or what a caller knows of identities (``features.kernels.payer.payer_features``); set for each card's payment as by ``features.kernels.payer.payer_features``: NEW, DUPLICATE (the
            row has no meaning) or POSSIBLE (the row is valid if the payment is not a repetition; it was not applied).

    Raises:
        ValueError: the arguments are not of one length. The kernels do not check: they would write into memory of others.
    """
    lengths = {len(payments), *map(len, places), len(out), len(seen)}
    if len(lengths) > 1:
        raise ValueError(
            f"{len(payments)} payments, but places, features and marks of {sorted(lengths)} rows"
        )
    mode = APPLY if apply else READ
    payer_features(payments, places.cards, profiles.cards, mode, CARD_COLUMNS, out, seen)
    transaction_features(payments, seen, out)
    payer_features(payments, places.customers, profiles.customers, CONSULT, CUSTOMER_COLUMNS, out, seen)
    fraud_features(payments, places.frauds, profiles.frauds, out)
    shared_entity_features(payments, places.shared_entities, profiles.shared_entities, out)


def computed(
    payments: Payments,
    places: Places,
    profiles: Profiles,
    *,
    apply: bool,
    known: npt.NDArray[np.uint8] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """``fill_features`` into new arrays: features (n, WIDTH) and ``seen`` (n,). ``known``: what ``seen`` is on entry."""
    out = np.full((len(places.cards), WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(len(places.cards), dtype=np.uint8) if known is None else known.copy()
    fill_features(payments, places, profiles, out, seen, apply=apply)
    return out, seen


def known_before(
    event_ms: npt.NDArray[np.int64], places: Places, profiles: Profiles
) -> npt.NDArray[np.float32]:
    """What is known of entities at n moments without a payment, float32 (n, WIDTH), as ``computed`` has it.

    A window of a payer holds the payments up to the moment; entries that look at a payment are NaN.
    """
    nothing = moments(event_ms)
    out = np.full((len(event_ms), WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(len(event_ms), dtype=np.uint8)
    payer_features(nothing, places.cards, profiles.cards, BEFORE, CARD_COLUMNS, out, seen)
    payer_features(nothing, places.customers, profiles.customers, BEFORE, CUSTOMER_COLUMNS, out, seen)
    fraud_features(nothing, places.frauds, profiles.frauds, out)
    shared_entity_features(nothing, places.shared_entities, profiles.shared_entities, out)
    return out


def computed_beside(
    payments: Payments, places: Places, profiles: Profiles, known: npt.NDArray[np.uint8] | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """``computed`` with ``apply``, for arenas much larger than the CPU's cache: it works on copies and copies the cards back.

    The kernels read a profile in many places, and each read outside the cache costs as much as copying half a profile in
    sequence.
    """
    cards, own, near_cards = _copied(profiles.cards, places.cards)
    _, customers, near_customers = _copied(profiles.customers, places.customers)
    _, shared_entities, near_shared_entities = _copied(profiles.shared_entities, places.shared_entities)
    near = Profiles(near_cards, near_customers, near_shared_entities, profiles.frauds)
    local = Places(own, customers, shared_entities, places.frauds)
    out = computed(payments, local, near, apply=True, known=known)
    words_of(profiles.cards)[cards] = words_of(near.cards)[: len(cards)]
    return out


def _copied(arena: Arena, slots: Slots) -> tuple[Slots, Slots, Arena]:
    """The slots that there are, once each; where in the copies each slot's profile is, of the shape of ``slots``; and the copies.

    Never fewer than two: see ``new_arena``.
    """
    flat = slots.reshape(-1)
    where = np.empty(len(flat), dtype=np.int64)
    found, words = _copy(words_of(arena), flat, where)
    return found, where.reshape(slots.shape), words.view(arena.dtype).reshape(-1)


@njit(cache=True, nogil=True)
def _copy(words: Any, slots: Any, where: Any) -> Any:
    order = np.argsort(slots, kind="mergesort")
    found = np.empty(len(slots), dtype=np.int64)
    n = 0
    for i in order:
        if slots[i] < 0:
            where[i] = -1
            continue
        if n == 0 or found[n - 1] != slots[i]:
            found[n] = slots[i]
            n += 1
        where[i] = n - 1
    copies = np.empty((max(n, 2), words.shape[1]), dtype=np.uint64)
    for k in range(n):
        copies[k] = words[found[k]]
    return found[:n], copies


def entities_as_of(places: Places, profiles: Profiles) -> npt.NDArray[np.int64]:
    """The offsets of `entities` last applied to each row's merchant, device, ip and customer, (n, 4); -1 if unknown.

    A customer's payments and frauds are read at the same moment, so the newer of their two offsets is valid for both.
    """
    shared_entities = _offsets(profiles.shared_entities, places.shared_entities)
    payments = _offsets(profiles.customers, places.customers)
    return np.column_stack(
        [shared_entities, np.maximum(payments, _offsets(profiles.frauds, places.frauds[:, 1]))]
    )


def frauds_as_of(places: Places, profiles: Profiles) -> npt.NDArray[np.int64]:
    """The offset of `entities` last applied to the fraud history of each row's card, (n,); -1 if unknown."""
    return _offsets(profiles.frauds, places.frauds[:, 0])


def _offsets(arena: Arena, slots: Slots) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = np.where(slots >= 0, arena["offset"][slots], -1)
    return found
