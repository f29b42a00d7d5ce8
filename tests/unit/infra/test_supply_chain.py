"""What the product consists of: Kafka's jars by checksum, and the bill of materials."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.licences import Dependency
from infra.sbom import bill
from infra.stack import kafka_jars
from infra.stack.kafka_jars import KAFKA_VERSION, Jar, differences, folder_name, listed
from infra.stack.tools import CHECKOUT, find_tools

NOW = datetime(2026, 11, 30, tzinfo=UTC)
POM = CHECKOUT / "infra" / "stack" / "kafka-pom.xml"


def test_the_list_has_every_jar_with_its_group_and_the_versions_of_the_pom() -> None:
    jars = {(jar.group, jar.artifact): jar.version for jar in listed()}
    assert len(jars) == len(listed()) and all(group for group, _ in jars)
    named = ElementTree.parse(POM).findall(".//{*}dependency")
    direct = {tuple(one.findtext(f"{{*}}{part}") or "" for part in ("groupId", "artifactId", "version")) for one in named}  # fmt: skip
    for group, artifact, version in direct:
        if artifact != "jackson-bom":
            assert jars[group, artifact] == version
    assert jars["org.apache.kafka", "kafka_2.13"] == KAFKA_VERSION
    assert f"KAFKA={KAFKA_VERSION}\n" in (CHECKOUT / "infra" / "setup.sh").read_text()
    # what was lifted does not come back by another way
    assert not {("org.lz4", "lz4-java")} & jars.keys()


def test_a_jar_that_was_changed_is_added_or_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    own = tmp_path / "list"
    own.write_text(f"# org.example\n{digest}  a-1.0.jar\n{digest}  b_2.13-1.5.6-10.jar\n")
    monkeypatch.setattr(kafka_jars, "LIST", own)
    assert listed() == [Jar("org.example", "a", "1.0", digest), Jar("org.example", "b_2.13", "1.5.6-10", digest)]  # fmt: skip
    for name in ("a-1.0.jar", "b_2.13-1.5.6-10.jar"):
        (tmp_path / name).write_bytes(b"right")
    assert differences(tmp_path) == []
    before = folder_name()
    (tmp_path / "a-1.0.jar").write_bytes(b"wrong")
    (tmp_path / "b_2.13-1.5.6-10.jar").rename(tmp_path / "c-1.jar")
    assert differences(tmp_path) == [
        "b_2.13-1.5.6-10.jar is missing", "c-1.jar is not in the list", "a-1.0.jar is not the one that was listed",
    ]  # fmt: skip
    own.write_text("nonsense\n")
    with pytest.raises(ValueError, match="not a checksum"):
        listed()
    assert folder_name() != before


def test_the_installed_jars_are_those_of_the_list() -> None:
    folder = find_tools().kafka_jars
    if folder is None:
        pytest.skip("Kafka's jars are not installed (`make setup`)")
    assert re.fullmatch(rf"kafka-{re.escape(KAFKA_VERSION)}-[0-9a-f]{{8}}", folder.name)
    assert differences(folder) == []


def test_the_bill_is_cyclonedx_and_tells_tools_from_what_is_shipped() -> None:
    packages = [
        Dependency("main", "numpy", "2.1", "BSD-3-Clause"), Dependency("main", "pytest", "9.0", "MIT License"),
        Dependency("drift", "numpy", "1.24.4", ""),
    ]  # fmt: skip
    text = JsonV1Dot6(bill(packages, {"numpy"}, [Jar("g", "a", "1.0", "0" * 64)], NOW)).output_as_string()
    found = json.loads(text)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parts = {one["bom-ref"]: one for one in found["components"]}
    assert parts["main/numpy"]["purl"] == "pkg:pypi/numpy@2.1" and parts["main/numpy"]["scope"] == "required"
    assert parts["main/pytest"]["scope"] == "excluded" and "licenses" not in parts["drift/numpy"]
    assert parts["kafka/a-1.0.jar"]["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    assert found["metadata"]["component"]["name"] == "tollgate"
