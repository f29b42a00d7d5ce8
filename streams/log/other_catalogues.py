"""Feature vectors made with another catalogue: find its column layout and convert them to this code's columns.

While processes are restarted one by one, new code reads records of old code and the other way round. A process that makes
vectors first stores the layout of its catalogue in Redis; a reader that meets an unknown catalogue looks its layout up there.
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
from features.store.redis_client import Command, RespClient, StoreUnavailable
from features.vector_layouts import OWN, Layout, Places, aligned_columns
from streams.log.feature_batch import FeatureRecord
from streams.runtime.metrics import VECTORS_CONVERTED

logger = logging.getLogger(__name__)

#: bool (WIDTH,): which of this code's columns a vector of another catalogue has
Known = npt.NDArray[np.bool_]
#: the known columns of this code's own catalogue
ALL_KNOWN: Known = np.ones(WIDTH, bool)
#: by row: the columns that a vector of another catalogue has; None if its layout is unknown
OtherCatalogue = dict[int, Known | None]
Find = Callable[[str], Layout | None]

#: longest wait of a hot path for Redis, for each of connect, send and receive
LOOK_WITHIN_S = 0.05
LOOK_EVERY_S = 1.0
#: unknown catalogues remembered, so that Redis is not asked for every record; bounded because names may be garbage
MAX_UNKNOWN = 64


_decoder = msgspec.json.Decoder(Layout)


def layout_key(catalogue: str) -> str:
    """Redis key of a catalogue's layout."""
    return f"tollgate:catalogue:{catalogue}"


def announcement(layout: Layout = OWN) -> Command:
    """The command that stores a layout, without expiry: its records stay on the log longer than its processes run."""
    return ("SET", layout_key(layout.catalogue), msgspec.json.encode(layout))


def stored_in(client: RespClient, *, with_retry: bool = False) -> Find:
    """A function that reads layouts from Redis. ``with_retry``: it waits while Redis is away, for readers that must not skip.

    The function raises StoreUnavailable.
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
            logger.error("%s in Redis is not a valid layout: %s", layout_key(catalogue), error)
            return None

    return find


@dataclass(frozen=True)
class Conversion:
    """How to convert vectors of another catalogue: their ``width``, and for each of our columns its place (WIDTH,) in them."""

    width: int
    places: Places
    known: Known


class Layouts:
    """The known layouts of other catalogues. ``find`` is called once per catalogue, and once a second for an unknown one."""

    def __init__(
        self, find: Find, clock: Callable[[], float] = time.monotonic, *, must_know: bool = False
    ) -> None:
        """``must_know``: when ``find`` cannot be asked, ``of`` raises StoreUnavailable instead of returning None."""
        self._find, self._clock, self._must_know = find, clock, must_know
        self._known: dict[str, Conversion] = {}
        self._ask_again: dict[str, float] = {}
        self._away_until = 0.0
        # ``find`` uses one connection, and the archive calls from several threads
        self._lock = threading.Lock()

    def of(self, catalogue: str) -> Conversion | None:
        """The conversion for vectors of ``catalogue``; None while its layout is unknown."""
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
            "features of catalogue %s are converted: it has %d of this code's %d entries",
            catalogue, int(made.known.sum()), WIDTH,
        )  # fmt: skip
        return made


def own_block(
    catalogue: str, vectors: npt.NDArray[np.float32], layouts: Layouts
) -> tuple[npt.NDArray[np.float32], Known | None]:
    """Vectors of one catalogue, (n, its width), in this code's columns, (n, WIDTH), and which of these columns are known.

    None, and rows of NaN, if the layout is unknown or the width is not the catalogue's.
    """
    if catalogue == CATALOGUE_HASH:
        if vectors.shape[1] == WIDTH:
            return vectors, ALL_KNOWN
    else:
        conversion = layouts.of(catalogue)
        if conversion is not None and vectors.shape[1] == conversion.width:
            VECTORS_CONVERTED.labels(catalogue).inc(len(vectors))
            return aligned_columns(vectors, conversion.places), conversion.known
    return np.full((len(vectors), WIDTH), np.nan, dtype=np.float32), None


def aligned_rows(
    records: Sequence[FeatureRecord], layouts: Layouts
) -> tuple[npt.NDArray[np.float32], list[Known | None]]:
    """``own_block`` for rows of different catalogues: float32 (n, WIDTH), and the known columns of each row."""
    rows = np.empty((len(records), WIDTH), dtype=np.float32)
    known: list[Known | None] = [None] * len(records)
    alike: dict[tuple[str, int], list[int]] = {}
    for place, record in enumerate(records):
        alike.setdefault((record.catalogue, len(record.vector)), []).append(place)
    for (catalogue, _), places in alike.items():
        joined = b"".join([records[place].vector for place in places])
        vectors = np.frombuffer(joined, dtype="<f4").reshape(len(places), -1)
        rows[places], found = own_block(catalogue, vectors, layouts)
        for place in places:
            known[place] = found
    return rows, known


def has_all(known: Known | None, needed: Known | None) -> bool:
    """Whether a vector's layout is known and it has all needed columns."""
    return known is not None and (needed is None or bool(known[needed].all()))
