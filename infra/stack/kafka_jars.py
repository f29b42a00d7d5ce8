"""Kafka's jars as `make setup` downloads them: which ones, from which group, with which SHA-256 (``kafka-jars.sha256``).

The file is what ``sha256sum --check`` reads, with the Maven group of the lines that follow as a comment.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).with_name("kafka-jars.sha256")
KAFKA_VERSION = "4.1.2"
_NAME = re.compile(r"(?P<artifact>.+?)-(?P<version>\d.*)\.jar")


class Jar(NamedTuple):
    """One jar, by its Maven coordinates; ``sha256`` in hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def listed() -> list[Jar]:
    """All jars in the order of the list.

    Raises:
        ValueError: a line of the list is no checksum of a jar.
    """
    out, group = [], ""
    for line in LIST.read_text().splitlines():
        if line.startswith("#"):
            group = line.removeprefix("#").strip()
            continue
        digest, _, name = line.partition("  ")
        found = _NAME.fullmatch(name)
        if found is None or len(digest) != 64:
            raise ValueError(f"{LIST}: not a checksum of a jar: {line}")
        out.append(Jar(group, found["artifact"], found["version"], digest))
    return out


def folder_name() -> str:
    """Folder of the jars below ``.cache``: another list means another folder, and no running broker loses its jars."""
    return f"kafka-{KAFKA_VERSION}-{hashlib.sha256(LIST.read_bytes()).hexdigest()[:8]}"


def differences(folder: Path) -> list[str]:
    """What in a folder is not as listed: jars that are missing, changed, or not in the list."""
    wanted = {jar.file: jar.sha256 for jar in listed()}
    there = {path.name: path for path in folder.glob("*.jar")}
    out = [f"{name} is missing" for name in sorted(wanted.keys() - there.keys())]
    out += [f"{name} is not in the list" for name in sorted(there.keys() - wanted.keys())]
    return out + [
        f"{name} is not the one that was listed"
        for name in sorted(wanted.keys() & there.keys())
        if hashlib.sha256(there[name].read_bytes()).hexdigest() != wanted[name]
    ]
