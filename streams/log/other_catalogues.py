"""Vectors of another catalogue: where its layout is known from, and how they are put into this code's own.

While processes are restarted one after the other, readers of new code meet records of old code and the other way round. Who
makes vectors puts the layout of its catalogue on record in Redis first; who meets an unknown one looks there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import hiredis
import msgspec
import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH, WIDTH
from features.definitions import OWN, Layout, Places, aligned_columns
from features.store.redis_client import Command, RespClient, StoreUnavailable
from streams.log.records import FeatureRecord, matrix
from streams.runtime.metrics import VECTORS_CONVERTED

logger = logging.getLogger(__name__)

#: bool (WIDTH,): which of this code's columns a vector of another catalogue has
Known = npt.NDArray[np.bool_]
#: by row: what is known of a vector of another catalogue; None: nothing, since its layout is not
OtherCatalogue = dict[int, Known | None]
Find = Callable[[str], Layout | None]

#: how long a hot path may wait for Redis, each for connecting, sending and the answer
LOOK_WITHIN_S = 0.05
LOOK_EVERY_S = 1.0
#: names of catalogues that nobody knows are remembered so that they are not asked for each time; garbage may bring many
MAX_UNKNOWN = 64


_decoder = msgspec.json.Decoder(Layout)


def layout_key(catalogue: str) -> str:
    """Redis key of a catalogue's layout."""
    return f"tollgate:catalogue:{catalogue}"


def announcement(layout: Layout = OWN) -> Command:
    """The command that puts a layout on record, for good: records of it stay on the log longer than its processes run."""
    return ("SET", layout_key(layout.catalogue), msgspec.json.encode(layout))


def stored_in(client: RespClient, *, with_retry: bool = False) -> Find:
    """Looks layouts up in Redis. ``with_retry``: waits while it is away, as who must not lose a record does.

    The function raises: StoreUnavailable.
    """
    ask = client.with_retry if with_retry else client.call

    def find(catalogue: str) -> Layout | None:
        reply = ask([("GET", layout_key(catalogue))])[0]
        if isinstance(reply, hiredis.ReplyError):
            raise StoreUnavailable(str(reply))
        if reply is None:
            return None
        try:
            return _decoder.decode(reply)
        except msgspec.DecodeError as error:
            logger.error("%s in Redis is no layout: %s", layout_key(catalogue), error)
            return None

    return find


@dataclass(frozen=True)
class Conversion:
    """From the vectors of one other_catalogue catalogue to this code's: ``width`` theirs, ``places`` (WIDTH,) in them."""

    width: int
    places: Places
    known: Known


class Layouts:
    """What is known of other catalogues. ``find`` is asked once for each, and for an unknown one at most once a second."""

    def __init__(
        self, find: Find, clock: Callable[[], float] = time.monotonic, *, must_know: bool = False
    ) -> None:
        """``must_know``: while nobody can be asked, nothing counts as unknown; ``of`` raises StoreUnavailable instead."""
        self._find, self._clock, self._must_know = find, clock, must_know
        self._known: dict[str, Conversion] = {}
        self._ask_again: dict[str, float] = {}
        self._away_until = 0.0
        # one connection behind it, and the archive's records come from more than one thread
        self._lock = threading.Lock()

    def of(self, catalogue: str) -> Conversion | None:
        """How vectors of ``catalogue`` are converted; None while its layout is not on record."""
        found = self._known.get(catalogue)
        if found is not None:
            return found
        with self._lock:
            return self._known.get(catalogue) or self._look(catalogue)

    def _look(self, catalogue: str) -> Conversion | None:
        now = self._clock()
        if now < max(self._away_until, self._ask_again.get(catalogue, 0.0)):
            return None
        try:
            layout = self._find(catalogue)
        except StoreUnavailable as error:
            if self._must_know:
                raise
            self._away_until = self._clock() + LOOK_EVERY_S
            logger.warning("features of catalogue %s cannot be read now: %s", catalogue, error)
            return None
        if layout is None:
            if len(self._ask_again) >= MAX_UNKNOWN:
                self._ask_again.clear()
            self._ask_again[catalogue] = now + LOOK_EVERY_S
            return None
        places = OWN.places_in(layout)
        made = Conversion(len(layout.names), places, places >= 0)
        self._known[catalogue] = made
        logger.info(
            "features of catalogue %s are read too: it has %d of this one's %d entries",
            catalogue, int(made.known.sum()), WIDTH,
        )  # fmt: skip
        return made


def aligned_rows(
    records: list[FeatureRecord], layouts: Layouts
) -> tuple[npt.NDArray[np.float32], OtherCatalogue]:
    """The records' vectors in this code's layout, float32 (n, WIDTH), and what is known of those of other catalogues.

    A vector of unknown layout, or of a width that is not its catalogue's, is NaN.
    """
    others = [row for row, record in enumerate(records) if record.catalogue != CATALOGUE_HASH]
    rows = matrix(records, WIDTH)
    if not others:
        return rows, {}
    rows = rows.copy()
    other_catalogue: OtherCatalogue = {}
    by_catalogue: dict[str, list[int]] = {}
    for row in others:
        by_catalogue.setdefault(records[row].catalogue, []).append(row)
    for catalogue, places in by_catalogue.items():
        conversion = layouts.of(catalogue)
        whole = (
            []
            if conversion is None
            else [row for row in places if len(records[row].vector) == 4 * conversion.width]
        )
        rows[places] = np.nan
        other_catalogue.update(dict.fromkeys(places))
        if conversion is not None and whole:
            vectors = matrix([records[row] for row in whole], conversion.width)
            rows[whole] = aligned_columns(vectors, conversion.places)
            other_catalogue.update(dict.fromkeys(whole, conversion.known))
            VECTORS_CONVERTED.labels(catalogue).inc(len(whole))
    return rows, other_catalogue


def readable_rows(
    records: Sequence[FeatureRecord], layouts: Layouts, needed: Known | None = None
) -> tuple[list[FeatureRecord], npt.NDArray[np.float32], OtherCatalogue]:
    """Of ``aligned_rows`` those whose layout is known and has all ``needed`` columns: records, rows and what is known, by new row."""
    every = list(records)
    rows, other_catalogue = aligned_rows(every, layouts)
    if not other_catalogue:
        return every, rows, {}
    kept = [
        row
        for row in range(len(every))
        if row not in other_catalogue or has_all(other_catalogue[row], needed)
    ]
    renumbered = {place: other_catalogue[row] for place, row in enumerate(kept) if row in other_catalogue}
    return [every[row] for row in kept], rows[kept], renumbered


def has_all(known: Known | None, needed: Known | None) -> bool:
    """Whether a vector's layout is known and has the needed columns."""
    return known is not None and (needed is None or bool(known[needed].all()))
