"""Writes the table of dependencies with their licences, from the installed packages, and checks the licences.

    python -m infra.licences           writes infra/licences.md
    python -m infra.licences --check   fails if a licence forbids production use, is AGPL, or is unknown

Only what the requirement files and the lock file of the console's pages pin is listed, so that the table does not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
TABLE = CHECKOUT / "infra" / "licences.md"
REQUIREMENTS = CHECKOUT / "infra" / "requirements"
#: environment name, its folder, the requirement files that fill it
ENVIRONMENTS = (
    ("main", CHECKOUT / ".venv", ("main.txt", "dev.txt")),
    ("drift", CHECKOUT / ".venv-drift", ("drift.txt",)),
)
#: the console's pages: what they are made of (`pages`), and what they are built and tested with (`pages, dev`)
PAGES = CHECKOUT / "services" / "console" / "web" / "package-lock.json"
FORBIDDEN = re.compile(
    r"BUSL|business source|AGPL|affero|SSPL|server side public|commons clause|elastic license|polyform"
    r"|non-?commercial|\bNC\b|evaluation|non-?production|proprietary",
    re.IGNORECASE,
)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
#: licence texts that some metadata has in place of a licence name, by their beginning
_TEXTS = (
    (re.compile(r"apache license", re.I), "Apache-2.0"),
    (re.compile(r"(the )?mit license|permission is hereby granted, free of charge", re.I), "MIT"),
    (re.compile(r"redistribution and use in source and binary forms", re.I), "BSD"),
    (re.compile(r"mozilla public license version 2", re.I), "MPL-2.0"),
    (re.compile(r"python software foundation license", re.I), "PSF-2.0"),
)


@dataclass(frozen=True)
class Dependency:
    """One installed package; ``licence`` is empty if its metadata and files name none."""

    environment: str
    name: str
    version: str
    licence: str


class NotInstalled(Exception):
    """A pinned package is missing from its environment, so its licence cannot be read."""


def pinned(files: Iterable[Path]) -> dict[str, str]:
    """Normalised name to version, of all pins in requirement files."""
    return {normal(name): version for file in files for name, version in _PIN.findall(file.read_text())}


def normal(name: str) -> str:
    """A package's name, normalised as in PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(distribution: metadata.Distribution) -> str:
    """The licence from the SPDX expression, else the classifiers, the licence field, or the licence file's text."""
    about = distribution.metadata
    expression = _field(about, "License-Expression")
    if expression:
        return expression
    classifiers = [
        line.split(" :: ")[-1]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    if classifiers:
        return " / ".join(sorted(set(classifiers)))
    field = _field(about, "License")
    if field and field.upper() != "UNKNOWN":
        return field if len(field) < 80 else _recognise(field)
    return _from_files(distribution)


def _field(about: metadata.PackageMetadata, name: str) -> str:
    return str(about[name]).strip() if name in about else ""


def _from_files(distribution: metadata.Distribution) -> str:
    for file in distribution.files or ():
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.IGNORECASE) and ".dist-info" in str(file):
            found = _recognise(Path(str(file.locate())).read_text(errors="replace"))
            if found:
                return found
    return ""


def _recognise(text: str) -> str:
    flat = " ".join(text[:4000].split())
    return next((name for pattern, name in _TEXTS if pattern.search(flat)), "")


def installed(environment: str, folder: Path, pins: dict[str, str]) -> list[Dependency]:
    """Every pinned package of the environment, sorted by name.

    Raises:
        NotInstalled: a pinned package is missing.
    """
    found = {
        normal(distribution.metadata["Name"]): distribution
        for path in sorted((folder / "lib").glob("python3*/site-packages"))
        for distribution in metadata.distributions(path=[str(path)])
    }
    missing = sorted(set(pins) - set(found))
    if missing:
        raise NotInstalled(f"{folder.name} lacks {', '.join(missing[:5])}: run `make setup-dev`")
    return [
        Dependency(environment, name, found[name].version, licence_of(found[name])) for name in sorted(pins)
    ]


def of_pages(lock: Path) -> list[Dependency]:
    """Every package of the console's pages, as their lock file states it; variants for other machines (`optional`) are left out."""
    packages: dict[str, dict[str, Any]] = json.loads(lock.read_text())["packages"]
    return [
        Dependency(
            "pages, dev" if found.get("dev") else "pages",
            folder.rpartition("node_modules/")[2],
            str(found["version"]),
            str(found.get("license", "")),
        )
        for folder, found in sorted(packages.items())
        if folder and not found.get("optional")
    ]


def problems(dependencies: Iterable[Dependency]) -> list[str]:
    """One text for each package whose licence forbids production use or is unknown."""
    out = []
    for dependency in dependencies:
        where = f"{dependency.name} {dependency.version} ({dependency.environment})"
        if not dependency.licence:
            out.append(f"{where}: no licence is stated")
        elif FORBIDDEN.search(dependency.licence):
            out.append(f"{where}: {dependency.licence}")
    return out


def table(dependencies: Iterable[Dependency]) -> str:
    lines = [
        "# Dependencies and their licences",
        "",
        "Made by `make licences` from what is installed; `make check` fails on one that forbids production use.",
        "Apache Kafka's jars (Apache-2.0) come through Maven; Redis, Prometheus and Alertmanager come from the system.",
        "",
        "| package | version | licence | environment |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {d.name} | {d.version} | {d.licence.replace('|', '/')} | {d.environment} |" for d in dependencies
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Table of dependencies with their licences.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail on a problem or an outdated table"
    )
    check = parser.parse_args().check
    try:
        dependencies = [
            dependency
            for name, folder, files in ENVIRONMENTS
            for dependency in installed(name, folder, pinned(REQUIREMENTS / file for file in files))
        ]
        dependencies += of_pages(PAGES)
    except NotInstalled as error:
        print(error, file=sys.stderr)
        return 3
    found = problems(dependencies)
    text = table(dependencies)
    if not check:
        TABLE.write_text(text)
    elif not TABLE.exists() or TABLE.read_text() != text:
        found.append(f"{TABLE.relative_to(CHECKOUT)} is not up to date: run `make licences`")
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{len(dependencies)} packages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
