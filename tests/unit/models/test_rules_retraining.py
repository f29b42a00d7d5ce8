"""A retraining never switches off what people gave the policy, also when features have changed since."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from features.catalogue import NAMES
from features.vector_layouts import Layout
from models.bundle.content import BundleRefused, load_bundle
from models.bundle.registry import next_patch, next_policy_version
from models.policy.lists import Entry, PolicyList
from models.policy.policy import TRAINER, Policy, Rule
from models.policy.thresholds import Threshold
from models.training.training import train
from services.trainer.learning import _with_rules_of
from streams.runtime.settings import Settings
from tests.support.bundle_samples import QUICK, trained
from tests.support.models_data import make_dataset
from tests.support.policy_samples import publish_with

FAR = datetime(2100, 1, 1, tzinfo=UTC)
PEOPLE = Policy(
    version="7", review=0.5, decline=0.9, rules=(Rule("abroad", "country <> 'FR'", "review", "ann"),),
    thresholds=(Threshold(channel="atm", review=0.1, decline=0.2),),
    lists=(PolicyList(name="stolen", kind="block", field="card_id", owner="ann", expires=FAR, entries=(Entry("c-1"),)),),
)  # fmt: skip


def test_a_new_model_goes_on_with_them() -> None:
    found = train(
        make_dataset(), QUICK, policy_version="8", live=(lambda rows: np.zeros(len(rows), np.float32), PEOPLE)
    )
    assert found.policy.version == "8" and found.policy.review != PEOPLE.review
    assert [(rule.name, rule.owner) for rule in found.policy.rules] == [
        ("amount-over-limit", TRAINER),
        ("abroad", "ann"),
    ]
    assert (found.policy.lists, found.policy.thresholds) == (PEOPLE.lists, PEOPLE.thresholds)


def test_so_does_one_of_another_catalogue(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path))
    publish_with(tmp_path, PEOPLE, layout=Layout("0" * 16, NAMES, ("00000000",) * len(NAMES)))
    with pytest.raises(BundleRefused, match="train a new model"):
        load_bundle(tmp_path / "bundles" / "fraud" / "1.0.0", tmp_path / "keys" / "trusted")
    found, note = _with_rules_of(settings, "1.0.0", trained(), "note")
    assert [rule.name for rule in found.policy.rules] == ["amount-over-limit", "abroad"] and note == "note"
    (tmp_path / "bundles" / "fraud" / "1.0.0" / "policy.json").write_text("{}")
    found, note = _with_rules_of(settings, "1.0.0", trained(), "note")
    assert found is trained() and "were not copied" in note


def test_versions_of_policies_and_bundles_are_free(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    assert next_policy_version(bundles, "fraud") == "1"
    publish_with(tmp_path, PEOPLE, "1.4.0")
    publish_with(tmp_path, Policy(version="fallback", review=0.5, decline=0.9), "1.4.1")
    assert (next_policy_version(bundles, "fraud"), next_patch(bundles, "fraud", "1.4.0")) == ("8", "1.4.2")
