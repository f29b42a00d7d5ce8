"""Records that workers set aside in place of handling them: named by a person (``tollgate skip``), or because they ended three workers.

One file for all processes of a stack on this machine. A record stays in it: after a crash it may be met again.
"""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path
from typing import Any

import msgspec

from streams.access.private_files import write_private

logger = logging.getLogger(__name__)

FILE = "skips.json"
#: skips that the file holds; the oldest make room
MAX_SKIPS = 1_000


class Skip(msgspec.Struct, frozen=True):
    """One record that is set aside when a worker meets it."""

    topic: str
    partition: int
    offset: int
    why: str
    by: str
    #: RFC 3339
    at: str
    #: of the dead letter
    reason: str = "skipped"


class SkipsError(Exception):
    """The file of skips cannot be read; the text names it."""

    exit_code = 2


class Skips:
    """The skips in a folder. Looking whether there are new ones costs two microseconds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._seen: tuple[int, ...] = ()
        self._known: dict[tuple[str, int], dict[int, Skip]] = {}

    def of(self, topic: str, partition: int) -> dict[int, Skip]:
        """The skips of a partition, by offset."""
        self._look()
        return self._known.get((topic, partition), {})

    def left_in(self, messages: list[Any]) -> list[Any]:
        """Messages of librdkafka without those that are skipped: what reads the log again must not meet them either."""
        self._look()
        if not self._known:
            return messages
        return [m for m in messages if m.offset() not in self._known.get((m.topic(), m.partition()), ())]

    def all(self) -> list[Skip]:
        """All skips in the order in which they were added.

        Raises:
            SkipsError: the file does not parse.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Skip])
        except FileNotFoundError:
            return []
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise SkipsError(f"{self._path} does not parse ({error}): mend or remove it") from None

    def add(self, skip: Skip) -> None:
        """Add a skip. Raises: SkipsError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            # given back when the file is closed
            fcntl.flock(lock, fcntl.LOCK_EX)
            skips = [*self.all(), skip][-MAX_SKIPS:]
            write_private(self._path, msgspec.json.format(msgspec.json.encode(skips), indent=2))

    def _look(self) -> None:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return
        # a clock of files may stand still for four milliseconds
        seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            skips = self.all()
        except SkipsError as error:
            # what a person has spoilt must not stop a worker: the skips from before stay
            logger.error("%s; until then the skips that were read before stay", error)
            return
        self._known = {}
        for skip in skips:
            self._known.setdefault((skip.topic, skip.partition), {})[skip.offset] = skip
