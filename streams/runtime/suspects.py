"""Remembers in a file which records a worker is handling. The file outlives the process, so a record that ends one worker after another
is found and set aside.

A worker that ends while it handles records makes suspects of them. The next one takes them in pieces, first of PIECE records, then one
by one; a record that has ended a worker three times is guilty, and the worker goes on behind it. What ends a worker without its records'
fault (a store that is away, a broker that does not answer) is forgiven: see ``streams.runtime.blame``.
"""

from __future__ import annotations

import logging
import mmap
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

#: records of a piece after the first time; after the second they are taken one by one
PIECE = 32
GUILTY_AFTER = 3
#: more guilty records than these in an hour are no longer the records' fault: the worker goes on restarting, which is paged
MAX_GUILTY, GUILTY_WITHIN_S = 20, 3_600
_FORMAT = struct.Struct("<qqqqqqq")

Place = tuple[str, int]


class Handling(NamedTuple):
    """What is known of one partition; ranges are offsets, the second one excluded."""

    #: being handled; nothing, if empty
    low: int = 0
    high: int = 0
    #: suspected, if ``times`` is not 0: a worker ended on them that many times
    first: int = 0
    last: int = 0
    times: int = 0
    #: guilty records since ``since_s``, seconds since 1970
    guilty: int = 0
    since_s: int = 0

    def after_an_end(self) -> Handling:
        """After the worker ended: what it was handling is suspected."""
        if self.low >= self.high:
            return self
        known = self.times > 0 and self.first <= self.low < self.last
        return self._replace(
            first=self.low, last=self.high, times=self.times + 1 if known else 1, low=0, high=0
        )

    def finished(self, position: int) -> Handling:
        """After all records below ``position`` have been handled."""
        cleared = self._replace(low=max(self.low, position))
        return cleared._replace(times=0) if self.times and position >= self.last else cleared

    def guilty_offset(self, now_s: float) -> int | None:
        """The offset of the record to set aside; None: there is none, or too many were guilty within the hour."""
        if self.times < GUILTY_AFTER or self.last - self.first != 1:
            return None
        recent = self.guilty if now_s - self.since_s < GUILTY_WITHIN_S else 0
        return self.first if recent < MAX_GUILTY else None

    def set_aside(self, now_s: float) -> Handling:
        """After the guilty record was set aside."""
        fresh = now_s - self.since_s >= GUILTY_WITHIN_S
        return self._replace(
            times=0,
            guilty=1 if fresh else self.guilty + 1,
            since_s=int(now_s) if fresh else self.since_s,
        )


class Suspects:
    """``Handling`` of the partitions of one group, a small mapped file for each: writing one costs a microsecond."""

    def __init__(self, folder: Path, group: str, now_s: Callable[[], float] = time.time) -> None:
        self._folder, self._group, self._now_s = folder, group, now_s
        self._files: dict[Place, mmap.mmap] = {}
        self._known: dict[Place, Handling] = {}

    @staticmethod
    def read(folder: Path, group: str, place: Place) -> Handling | None:
        """What a group's workers have written of a partition; None: nothing."""
        try:
            raw = _path(folder, group, place).read_bytes()
        except FileNotFoundError:
            return None
        return Handling(*_FORMAT.unpack(raw)) if len(raw) == _FORMAT.size else None

    def took_over(self, place: Place) -> None:
        """Call it when a partition is assigned: what its last worker was handling when it ended is suspected."""
        self._set(place, self._read(place).after_an_end())

    def begin(self, place: Place, low: int, high: int) -> None:
        """Records from ``low`` up to, not including, ``high`` are handled from now on, beside those begun before."""
        known = self._get(place)
        self._set(
            place, known._replace(low=min(known.low, low) if known.low < known.high else low, high=high)
        )

    def finish(self, place: Place, position: int) -> None:
        """All records below ``position`` have been handled."""
        self._set(place, self._get(place).finished(position))

    def forgive(self, place: Place) -> None:
        """What ends the worker now is not the fault of the records that it handles."""
        self._set(place, self._get(place)._replace(low=0, high=0))

    def piece(self, place: Place, offset: int) -> int | None:
        """How many records may be handled at once from an offset on; None: as many as there are."""
        known = self._get(place)
        if not known.times or offset >= known.last:
            return None
        return PIECE if known.times == 1 else 1

    def guilty(self, place: Place) -> int | None:
        """The offset of the record to set aside, if there is one; call ``acquit`` when that is done."""
        return self._get(place).guilty_offset(self._now_s())

    def acquit(self, place: Place) -> None:
        """The guilty record is set aside: the others are not suspected any more."""
        self._set(place, self._get(place).set_aside(self._now_s()))

    def _get(self, place: Place) -> Handling:
        found = self._known.get(place)
        return found if found is not None else self._read(place)

    def _read(self, place: Place) -> Handling:
        found = self._known[place] = Handling(*_FORMAT.unpack_from(self._file(place)))
        return found

    def _set(self, place: Place, handling: Handling) -> None:
        self._known[place] = handling
        _FORMAT.pack_into(self._file(place), 0, *handling)

    def _file(self, place: Place) -> mmap.mmap:
        found = self._files.get(place)
        if found is None:
            found = self._files[place] = _mapped(_path(self._folder, self._group, place))
        return found


def _mapped(path: Path) -> mmap.mmap:
    """A file in memory: what is written there reaches it whatever ends the process; only the machine's end can lose it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            # written, not only made longer: on a full disk this fails here, and not as a signal that ends the process later
            file.write(bytes(max(0, _FORMAT.size - file.seek(0, 2))))
            file.flush()
            return mmap.mmap(file.fileno(), _FORMAT.size)
    except OSError as error:
        logger.error(
            "%s cannot be written (%s): a record that ends this worker is not remembered", path, error
        )
        return mmap.mmap(-1, _FORMAT.size)


def _path(folder: Path, group: str, place: Place) -> Path:
    return folder / f"{group}-{place[0]}-{place[1]}"
