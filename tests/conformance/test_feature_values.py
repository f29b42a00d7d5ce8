"""An entry gives for a recorded world what it gave before, or has another version: else models would be fed with something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from features.catalogue import FEATURES, NAMES
from tests.support.feature_world import Recording, compute, load, problems, record, save


@pytest.fixture(scope="module")
def now() -> Recording:
    return compute()


@pytest.fixture(scope="module")
def recorded() -> Recording:
    return load()


def moved(recording: Recording, name: str, steps: int) -> Recording:
    """The recording with one known value of an entry some float32 numbers further."""
    column = recording.columns[name].copy()
    column.view(np.int32)[np.flatnonzero(~np.isnan(column))[-1]] += steps
    return recording._replace(columns={**recording.columns, name: column})


def test_no_entry_gives_other_values_than_were_recorded_of_its_version(
    recorded: Recording, now: Recording
) -> None:
    assert problems(recorded, now) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_value_is_found_and_its_entry_named(recorded: Recording, name: str) -> None:
    (found,) = problems(recorded, moved(recorded, name, 2))
    assert found.startswith(f"{name} has other values in 1 rows")
    assert f"raise `version` of {name}" in found
    assert problems(recorded, moved(recorded, name, 1)) == [], "another processor may round to the neighbour"


def test_a_value_that_is_known_no_more_is_a_change(recorded: Recording) -> None:
    column = recorded.columns["card_speed_kmh"].copy()
    column[np.flatnonzero(~np.isnan(column))[0]] = np.nan
    changed = recorded._replace(columns={**recorded.columns, "card_speed_kmh": column})
    assert ["card_speed_kmh" in line for line in problems(recorded, changed)] == [True]
    assert ["card_speed_kmh" in line for line in problems(changed, recorded)] == [True]


def test_other_facts_ask_for_a_raised_version(recorded: Recording) -> None:
    """The archive tells versions apart, not definitions."""
    changed = recorded._replace(definitions={**recorded.definitions, "mcc": "0ddba11s"})
    (line,) = problems(recorded, changed)
    assert line.startswith("mcc is defined by other facts") and "raise `version` of mcc" in line


def test_only_a_raised_version_is_recorded_anew(recorded: Recording, tmp_path: Path) -> None:
    path = tmp_path / "values.npz"
    save(recorded, path)
    changed = moved(recorded, "mcc", 1000)
    assert len(record(changed, path)) == 1 and problems(load(path), recorded) == []
    raised = changed._replace(versions={**changed.versions, "mcc": 2})
    (line,) = problems(load(path), raised)
    assert line.startswith("mcc is version 2 now, recorded is 1")
    assert record(raised, path) == [] and problems(load(path), raised) == []


def test_entries_that_came_or_went_are_to_be_recorded(recorded: Recording) -> None:
    versions = {name: version for name, version in recorded.versions.items() if name != "mcc"}
    fewer = recorded._replace(versions=versions)
    assert [line.split(":")[0] for line in problems(fewer, recorded)] == ["mcc is new"]
    assert [line.split(":")[0] for line in problems(recorded, fewer)] == [
        "mcc is not in the catalogue any more"
    ]
    assert len(problems(recorded._replace(traffic="other"), recorded)) == 1


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_the_world_moves_every_entry(recorded: Recording, feature: dataclasses.Field) -> None:
    """Else nothing would be noticed of it: several values, and one that is unknown for who comes too late to know."""
    column = recorded.columns[feature.name]
    # of a payment that came twice nothing is known
    column = column[~np.isnan(recorded.columns["amount"])]
    flags = feature.unit == "0/1" or feature.name == "currency_code"
    assert len(np.unique(column[~np.isnan(column)])) >= (2 if flags else 3)
    if feature.known_late_s is not None:
        assert np.isnan(column).any()


def test_the_world_reaches_groups_and_lists_that_run_over(recorded: Recording) -> None:
    assert (
        recorded.columns["card_count_30d"].max(initial=0, where=~np.isnan(recorded.columns["card_count_30d"]))
        > 130
    )
    assert (
        recorded.columns["card_merchants_7d"].max(
            initial=0, where=~np.isnan(recorded.columns["card_merchants_7d"])
        )
        > 16
    )
