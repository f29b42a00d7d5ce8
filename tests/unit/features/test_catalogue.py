"""What the catalogue states as facts: every entry has them, they agree with each other and with the kernels; texts are no identity."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from features import catalogue_texts as texts
from features.catalogue import (
    CATALOGUE_HASH,
    FEATURES,
    FIRST_COLUMN,
    INDEX,
    LONGEST_LOOK_BACK_S,
    NAMES,
    WIDTH,
    WINDOWS,
    catalogue_hash,
    columns_read_from,
)
from features.engine import Places, Profiles, computed
from features.feature import Feature
from features.kernels.columns import columns_of
from tests.support.oracle import HOUR, MINUTE
from tests.support.profile_samples import START, busy_payer, busy_shared_entity, payment, some_frauds

#: by field of an entry, another value of it; what is hashed, and what is not
IDENTITY = {
    "name": "other", "version": 2, "entity": "merchant", "source": "ip", "unit": "other", "window_s": 7, "tile_s": 5,
    "label_delay_s": 9, "look_back_s": 77, "default": 3.0, "uses_labels": True,
}  # fmt: skip
DESCRIPTION = {
    "needs_transaction": False, "truncation": "spread", "known_late_s": 4, "exact": False, "error": "other", "lateness": "other",
    "reads": ("n",), "state_bytes": 12345, "reason_code": "OTHER", "reason_text": "other",
}  # fmt: skip
EACH = pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)


def test_every_field_of_an_entry_is_its_identity_or_describes_it() -> None:
    entry = FEATURES[INDEX["amount"]]
    assert {field.name for field in fields(entry)} == IDENTITY.keys() | DESCRIPTION.keys()
    for name, value in {**IDENTITY, **DESCRIPTION}.items():
        assert getattr(entry, name) != value
        changed = replace(entry, **{name: value})
        assert (changed.definition != entry.definition) == (name in IDENTITY), name


def test_all_sentences_may_be_reworded() -> None:
    said_anew = tuple(
        replace(f, error=f"{f.error}!", lateness="otherwise", reason_code=f"X_{f.reason_code}", reason_text=f"{f.name}!")
        for f in FEATURES
    )  # fmt: skip
    assert [f.definition for f in said_anew] == [f.definition for f in FEATURES]
    assert catalogue_hash(said_anew) == CATALOGUE_HASH


def test_a_raised_version_is_another_catalogue_and_another_column_of_the_archive() -> None:
    raised = tuple(replace(f, version=2) if f.name == "mcc" else f for f in FEATURES)
    assert catalogue_hash(raised) != CATALOGUE_HASH
    assert catalogue_hash(tuple(reversed(FEATURES))) != CATALOGUE_HASH
    columns = [f.column for f in raised]
    assert columns[INDEX["mcc"]] == "mcc_v2" and len(set(columns)) == WIDTH
    assert not {f.column for f in raised} - {f.column for f in FEATURES} & set(NAMES)


@EACH
def test_facts_agree_with_each_other(feature: Feature) -> None:
    assert feature.version >= 1
    assert feature.entity == "transaction" or (feature.reads and feature.state_bytes > 0)
    assert (
        (feature.source == "transaction") == (feature.look_back_s == 0) == (feature.truncation == "nothing")
    )
    assert feature.source in (feature.entity, f"{feature.entity}_frauds")
    assert feature.exact == (feature.error == texts.EXACT)
    if feature.window_s and feature.look_back_s is not None:
        behind = feature.look_back_s - feature.window_s - feature.label_delay_s
        assert behind == (feature.tile_s if feature.label_delay_s else 0)
        assert feature.look_back_s <= LONGEST_LOOK_BACK_S
    else:
        assert feature.look_back_s in (None, 0) and feature.tile_s == feature.label_delay_s == 0
    assert feature.uses_labels == any("fraud" in field for field in feature.reads)


@EACH
def test_a_name_says_what_the_facts_say(feature: Feature) -> None:
    """Nothing is taken from a name any more; whoever reads one must not be misled all the same."""
    assert feature.entity == "transaction" or feature.name.startswith(f"{feature.entity}_")
    named = [seconds for label, seconds in {**WINDOWS, "1d": 86_400}.items() if feature.name.removesuffix("_delayed").endswith(f"_{label}")]  # fmt: skip
    if "burst" in feature.name:
        named = [WINDOWS["7d"]]
    assert named == ([feature.window_s] if feature.window_s else [])


def test_entries_of_an_entity_stand_together_and_alike() -> None:
    order = sorted(FIRST_COLUMN, key=lambda entity: FIRST_COLUMN[entity])
    assert [f.entity for f in FEATURES] == [
        e for e in order for _ in range(sum(f.entity == e for f in FEATURES))
    ]
    for one, others in (("card", ["customer"]), ("merchant", ["device", "ip"])):
        alike = [f.name.removeprefix(f"{one}_") for f in FEATURES if f.entity == one]
        for other in others:
            assert [f.name.removeprefix(f"{other}_") for f in FEATURES if f.entity == other] == alike


def test_kernels_find_windows_side_by_side() -> None:
    """They write the entry of a window at the place of the first one and so many further."""
    for first, labels in (
        *((f"card_{statistic}", list(WINDOWS)) for statistic in ("count", "sum", "mean", "max", "std")),
        *((f"card_{plural}", ["1h", "24h", "7d"]) for plural in ("merchants", "countries", "devices")),
        ("merchant_count", list(WINDOWS)[1:]), ("merchant_sum", list(WINDOWS)[1:5]), ("merchant_cards", list(WINDOWS)[1:5]),
    ):  # fmt: skip
        columns = [INDEX[f"{first}_{label}"] for label in labels]
        assert columns == list(range(columns[0], columns[0] + len(labels))), first


def test_every_column_is_read_from_one_source() -> None:
    sources = dict.fromkeys(f.source for f in FEATURES)
    assert len(sources) == 8
    assert sorted(np.concatenate([columns_read_from(source) for source in sources])) == list(range(WIDTH))


def moved_by_a_field(moment_ms: int) -> set[str]:
    """Entries that payments of one moment have differently which differ in one field each, in a value that no profile has seen."""
    payments = np.repeat(columns_of([payment(147)], [moment_ms], [-1]), 8)
    payments["id_hash"] = np.arange(1, 9)
    for row, (name, value) in enumerate([
        ("amount", 90_000), ("merchant_hash", 5), ("device_hash", 9), ("country", 80 * 256 + 76), ("channel", 2), ("mcc", 9999),
        ("longitude", 9.0),
    ], 1):  # fmt: skip
        payments[name][row] = value
    n = len(payments)
    zero = np.zeros(n, np.int64)
    places = Places(zero, zero, np.zeros((n, 3), np.int64), np.zeros((n, 2), np.int64))
    profiles = Profiles(busy_payer(), busy_payer(), busy_shared_entity(), some_frauds())
    rows, _ = computed(payments, places, profiles, apply=False)
    return {f.name for f in FEATURES if len(np.unique(rows[:, INDEX[f.name]].view(np.uint32))) > 1}


def test_what_needs_no_transaction_is_the_same_for_any_payment_of_a_moment() -> None:
    """And what needs one is moved by some field of it. Payers are busy at the first moment, shared entities at the second."""
    moved = moved_by_a_field(START + 140 * 20 * MINUTE + 45_000) | moved_by_a_field(START + 1_000 * HOUR)
    stateful = [f for f in FEATURES if f.source != "transaction"]
    assert moved & {f.name for f in stateful} == {f.name for f in stateful if f.needs_transaction}
    assert all(f.needs_transaction for f in FEATURES if f.source == "transaction")
