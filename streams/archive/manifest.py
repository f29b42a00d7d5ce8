"""The archive's manifest: position of each partition, archived source offsets, and files that a flush is about to write (intents).

SQLite, because positions and intents must change in one transaction. On opening, files of unfinished intents are deleted: their
rows come again from the log, so no row is archived twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streams.log.offsets.source_offsets import Seen

_TABLES = """
CREATE TABLE IF NOT EXISTS positions (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, last_source INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE IF NOT EXISTS sources (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, source_topic TEXT NOT NULL,
    last_source INTEGER NOT NULL, recent BLOB NOT NULL,
    PRIMARY KEY (topic, partition, source_topic)
);
CREATE TABLE IF NOT EXISTS intents (path TEXT PRIMARY KEY);
"""


class ManifestError(Exception):
    """The manifest cannot be opened or written; the text names the file and the cause."""


@dataclass(frozen=True)
class Position:
    """Next offset to read of a partition, and the source offsets archived from it.

    ``last_source`` (-1: none) is for `features`, which has one source, in order. ``sources``, by source topic, is for `outcomes`.
    """

    next_offset: int
    last_source: int = -1
    sources: Mapping[str, Seen] = field(default_factory=dict)


class Manifest:
    """One archive folder's manifest. For one process; the caller serialises calls."""

    def __init__(self, root: Path) -> None:
        """Open or create ``root/manifest.sqlite`` and delete the files of an interrupted flush.

        Raises:
            ManifestError: the file cannot be opened, or is not a manifest.
        """
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._path = root / "manifest.sqlite"
        try:
            self._db = sqlite3.connect(self._path, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
            self._remove_unfinished()
        except sqlite3.Error as error:
            raise ManifestError(f"the archive's manifest {self._path} cannot be used: {error}") from error

    def positions(self) -> dict[tuple[str, int], Position]:
        """Every known position, by (topic, partition)."""
        sources: dict[tuple[str, int], dict[str, Seen]] = {}
        rows = self._db.execute("SELECT topic, partition, source_topic, last_source, recent FROM sources")
        for topic, partition, source_topic, last, recent in rows:
            sources.setdefault((topic, partition), {})[source_topic] = Seen.unpack(last, recent)
        rows = self._db.execute("SELECT topic, partition, next_offset, last_source FROM positions")
        return {
            (topic, partition): Position(after, last, sources.get((topic, partition), {}))
            for topic, partition, after, last in rows
        }

    def begin(self, paths: list[Path]) -> None:
        """Record which files a flush will write, before it writes the first.

        Raises:
            ManifestError: the manifest could not be written.
        """
        relative = [(str(path.relative_to(self._root)),) for path in paths]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO intents (path) VALUES (?)", relative)
        except sqlite3.Error as error:
            raise ManifestError(f"{self._path}: {error}") from error

    def finish(self, positions: dict[tuple[str, int], Position]) -> None:
        """Advance the positions and delete the intents in one transaction, once all files are in place.

        Raises:
            ManifestError: the manifest could not be written; the next start deletes the files.
        """
        rows = [(topic, part, at.next_offset, at.last_source) for (topic, part), at in positions.items()]
        sources = [
            (topic, part, source_topic, seen.last, seen.pack())
            for (topic, part), at in positions.items()
            for source_topic, seen in at.sources.items()
        ]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", rows)
                self._db.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?)", sources)
                self._db.execute("DELETE FROM intents")
        except sqlite3.Error as error:
            raise ManifestError(f"{self._path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def _remove_unfinished(self) -> None:
        for (relative,) in self._db.execute("SELECT path FROM intents").fetchall():
            path = self._root / relative
            path.unlink(missing_ok=True)
            temporary(path).unlink(missing_ok=True)
        with self._db:
            self._db.execute("DELETE FROM intents")


def temporary(path: Path) -> Path:
    """Path of a file while it is being written; the leading dot hides it from Parquet dataset readers."""
    return path.with_name(f".{path.name}.tmp")
