"""The worked example's catalogue beside this one's, as while processes are restarted one after the other.

New code is a copy with the example of ``features/ADDING.md`` applied. Both versions make features records and train a bundle;
then each reads what both have made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from features.catalogue import CATALOGUE_HASH, NAMES
from tests.support.two_catalogues_script import PAYMENTS, VERSIONS
from tests.support.worked_example import ROOT, apply

NEW = ("card_whole_24h", "customer_whole_24h")
OLD_BUNDLE, NEW_BUNDLE = VERSIONS["old"], VERSIONS["new"]


def told(code: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.two_catalogues_script", *arguments],
        cwd=code, env={**os.environ, "PYTHONPATH": str(code)}, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each version says of all that was made."""
    copy, folder = tmp_path_factory.mktemp("code"), tmp_path_factory.mktemp("stack")
    for name in ("features", "models", "streams", "services", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    apply((ROOT / "features" / "ADDING.md").read_text(), copy)
    told(ROOT, str(folder), "make", "old")
    told(copy, str(folder), "make", "new")
    return {who: json.loads(told(code, str(folder), "read")) for who, code in (("old", ROOT), ("new", copy))}


pytestmark = pytest.mark.timeout(720)


def by_writer(decided: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Decisions on the old code's records and on the new code's, each in order of the payments."""
    return decided[::2], decided[1::2]


def test_both_versions_score_both_kinds_of_record_with_the_old_bundle_alike(read: dict[str, Any]) -> None:
    assert read["old"]["catalogue"] == CATALOGUE_HASH != read["new"]["catalogue"]
    old_on_old, old_on_new = by_writer(read["old"]["decided"][OLD_BUNDLE])
    new_on_old, new_on_new = by_writer(read["new"]["decided"][OLD_BUNDLE])
    assert len(old_on_old) == PAYMENTS
    # what old code gives its own records is what was served before anybody changed anything
    for others in (old_on_new, new_on_old, new_on_new):
        for name in ("status", "by", "score", "bits", "reasons"):
            assert [d[name] for d in others] == [d[name] for d in old_on_old], name
    assert {d["status"] for d in old_on_old} == {"scored"}
    assert {d["catalogue"] for d in new_on_old} == {CATALOGUE_HASH}
    assert {d["catalogue"] for d in old_on_new} == {read["new"]["catalogue"]}
    assert len({d["bits"] for d in old_on_old}) > 10


def test_the_new_bundle_scores_new_records_and_no_old_ones(read: dict[str, Any]) -> None:
    on_old, on_new = by_writer(read["new"]["decided"][NEW_BUNDLE])
    assert {d["status"] for d in on_new} == {"scored"}
    assert {(d["status"], *d["by"], d["score"]) for d in on_old} == {("not_scored", "catalogue", None)}
    refused = read["old"]["decided"][NEW_BUNDLE]
    assert (
        isinstance(refused, str) and all(name in refused for name in NEW) and "train a new model" in refused
    )


def test_the_archive_keeps_every_row_and_what_was_not_known_is_unknown(read: dict[str, Any]) -> None:
    old, new = read["old"]["archived"], read["new"]["archived"]
    assert old["refused"] == new["refused"] == []
    for name in NEW:
        assert name not in old["bits"]
        assert new["unknown"][name] == [True, False] * PAYMENTS
    for name in NAMES:
        # both versions computed the same, and both archives hold it
        assert old["bits"][name] == new["bits"][name], name
        assert old["bits"][name][::2] == old["bits"][name][1::2], name
