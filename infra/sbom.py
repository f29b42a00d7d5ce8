"""Writes the software bill of materials: what Tollgate consists of, as CycloneDX 1.6 (JSON), for tools that look for known weaknesses.

    python -m infra.sbom [FILE]        default: tollgate.cdx.json

Python packages are those that the requirement files pin, with the licence that each states; Kafka's jars come with their SHA-256, which
`make setup` checks. Development tools have the scope "excluded". Redis, Prometheus, Alertmanager and Java are the system's own packages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from infra.licences import ENVIRONMENTS, REQUIREMENTS, Dependency, NotInstalled, installed, pinned
from infra.stack.kafka_jars import Jar, listed

OUT = Path("tollgate.cdx.json")


def bill(dependencies: Iterable[Dependency], shipped: set[str], jars: Iterable[Jar], now: datetime) -> Bom:
    """The bill of materials.

    Args:
        shipped: names of the main environment's packages that the product needs; its others are development tools.
    """
    whole = Component(
        name="tollgate", version=metadata.version("tollgate"), type=ComponentType.APPLICATION, bom_ref="tollgate",
        licenses=[LicenseFactory().make_with_id("Apache-2.0")],
    )  # fmt: skip
    bom = Bom(metadata=BomMetaData(component=whole, timestamp=now))
    for dependency in dependencies:
        tool = dependency.environment == "main" and dependency.name not in shipped
        bom.components.add(_package(dependency, tool=tool))
    for jar in jars:
        bom.components.add(_jar(jar))
    bom.register_dependency(whole, [one for one in bom.components if one.scope is ComponentScope.REQUIRED])
    return bom


def _package(dependency: Dependency, *, tool: bool) -> Component:
    licence = LicenseFactory().make_from_string(dependency.licence) if dependency.licence else None
    return Component(
        name=dependency.name, version=dependency.version,
        purl=PackageURL("pypi", None, dependency.name, dependency.version),
        bom_ref=f"{dependency.environment}/{dependency.name}",
        scope=ComponentScope.EXCLUDED if tool else ComponentScope.REQUIRED,
        licenses=[licence] if licence else [],
        properties=[Property(name="tollgate:environment", value=dependency.environment)],
    )  # fmt: skip


def _jar(jar: Jar) -> Component:
    return Component(
        name=jar.artifact, group=jar.group, version=jar.version,
        purl=PackageURL("maven", jar.group, jar.artifact, jar.version), bom_ref=f"kafka/{jar.file}",
        scope=ComponentScope.REQUIRED, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=jar.sha256)],
        properties=[Property(name="tollgate:environment", value="kafka")],
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Software bill of materials.")
    parser.add_argument("file", nargs="?", type=Path, default=OUT)
    file = parser.parse_args().file
    try:
        dependencies = [
            dependency
            for name, folder, files in ENVIRONMENTS
            for dependency in installed(name, folder, pinned(REQUIREMENTS / one for one in files))
        ]
    except NotInstalled as error:
        print(error, file=sys.stderr)
        return 3
    shipped = set(pinned([REQUIREMENTS / "main.txt"]))
    bom = bill(dependencies, shipped, listed(), datetime.now(UTC))
    file.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n")
    print(f"{file}: {len(bom.components)} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
