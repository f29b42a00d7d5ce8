"""The licence check: reads what packages state, and refuses what forbids production use."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from infra import licences


def distribution(tmp_path: Path, about: str, text: str = "") -> metadata.Distribution:
    folder = tmp_path / "thing-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n{about}\n")
    (folder / "LICENSE").write_text(text)
    (folder / "RECORD").write_text("thing-1.0.dist-info/METADATA,,\nthing-1.0.dist-info/LICENSE,,\n")
    return metadata.Distribution.at(folder)


@pytest.mark.parametrize(
    ("about", "text", "licence"),
    [
        ("License-Expression: MIT\nLicense: other", "", "MIT"),
        ("Classifier: License :: OSI Approved :: MIT License", "", "MIT License"),
        ("License: BSD", "", "BSD"),
        ("License: UNKNOWN", "Apache License\nVersion 2.0", "Apache-2.0"),
        ("", "All rights reserved", ""),
    ],
)
def test_the_most_exact_statement_counts(tmp_path: Path, about: str, text: str, licence: str) -> None:
    assert licences.licence_of(distribution(tmp_path, about, text)) == licence


@pytest.mark.parametrize(
    "licence",
    ["BUSL-1.1", "Business Source License 1.1", "AGPL-3.0-only", "GNU Affero General Public License v3", "SSPL", "CC-BY-NC-4.0", ""],
)  # fmt: skip
def test_what_forbids_production_use_or_says_nothing_is_a_problem(licence: str) -> None:
    assert licences.problems([licences.Dependency("main", "thing", "1.0", licence)])


@pytest.mark.parametrize("licence", ["Apache-2.0", "MIT License", "MPL-2.0 AND MIT", "BSD License", "HPND"])
def test_free_licences_are_none(licence: str) -> None:
    assert licences.problems([licences.Dependency("main", "thing", "1.0", licence)]) == []


def test_the_pins_of_a_requirement_file(tmp_path: Path) -> None:
    file = tmp_path / "r.txt"
    file.write_text(
        "Foo_Bar==1.2 \\\n    --hash=sha256:aa\nbaz==2.0 ; sys_platform == 'never'\n    # via foo\n"
    )
    assert licences.pinned([file]) == {"foo-bar": "1.2", "baz": "2.0"}


def test_the_drift_environment_pins_the_last_free_alibi_detect() -> None:
    pins = licences.pinned([licences.REQUIREMENTS / "drift.txt"])
    assert pins["alibi-detect"] == "0.11.4"
    assert "alibi-detect" not in licences.pinned([licences.REQUIREMENTS / "main.txt"])


def test_packages_of_the_pages_are_read_from_their_lock_file(tmp_path: Path) -> None:
    lock = tmp_path / "package-lock.json"
    packages = {
        "": {"name": "pages"},
        "node_modules/@a/shown": {"version": "1.0.0", "license": "MIT"},
        "node_modules/b/node_modules/tool": {"version": "2.0.0", "license": "BUSL-1.1", "dev": True},
        "node_modules/of-another-machine": {"version": "3.0.0", "optional": True},
    }
    lock.write_text(json.dumps({"packages": packages}))
    found = licences.of_pages(lock)
    assert [(one.name, one.environment) for one in found] == [("@a/shown", "pages"), ("tool", "pages, dev")]
    assert licences.problems(found) == ["tool 2.0.0 (pages, dev): BUSL-1.1"]
    assert licences.of_pages(licences.PAGES)
