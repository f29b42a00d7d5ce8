"""Loads bundles in the background, one at a time, always the newest requested; reports a load that takes too long.

A load cannot be stopped. One that hangs is reported after its deadline. If it ends later, its bundle is still served,
unless a newer one was requested. Another thread loads the newer one meanwhile, so a hanging load never blocks a rollback.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from models.bundle.content import BundleRefused
from services.scoring.model.serving import Serving
from streams.contracts.rollout import RolloutRecord

logger = logging.getLogger(__name__)

LOAD_WITHIN_S = 30.0
#: loads that may hang at the same time; with more, no further bundle is loaded
MAX_HANGING = 3
#: how long the loading thread holds the interpreter lock while a batch's thread waits for it (Python's default: 5 ms)
TURN_S = 0.0005
USUAL_TURN_S = sys.getswitchinterval()


class Refusal(NamedTuple):
    """Why a bundle is not served: ``reason`` for metrics, ``text`` for people."""

    version: str
    reason: str
    text: str

    @classmethod
    def of(cls, version: str, error: Exception) -> Refusal:
        """What made a bundle fail; call while the error is handled."""
        if isinstance(error, BundleRefused):
            return cls(version, error.reason, str(error))
        logger.exception("bundle %s cannot be served", version)
        return cls(version, "failed", f"{type(error).__name__}: {error}")


class Loaded(NamedTuple):
    """What a record's bundles came to. ``refusal``: of its challenger, without which ``serving`` then does."""

    serving: Serving
    refusal: Refusal | None = None


Load = Callable[[RolloutRecord], Loaded]
Ready = Callable[[RolloutRecord, Loaded], None]
Refused = Callable[[RolloutRecord, Refusal], None]


class Loader:
    """Calls ``load`` on a thread of its own, then ``ready`` or ``refused`` on that thread, one at a time."""

    def __init__(
        self, load: Load, ready: Ready, refused: Refused, *, within_s: float = LOAD_WITHIN_S
    ) -> None:
        self._load, self._ready, self._refused = load, ready, refused
        self._within_s = within_s
        self._lock = threading.Lock()
        self._wanted: RolloutRecord | None = None
        #: by thread: what it loads, and whether it is late
        self._loading: dict[threading.Thread, tuple[RolloutRecord, bool]] = {}

    def ask(self, record: RolloutRecord) -> None:
        """Load ``record``'s bundle next, in place of the one requested before."""
        with self._lock:
            self._wanted = record
            self._start()

    def give(self, record: RolloutRecord, loaded: Loaded) -> None:
        """Serve what is loaded already, in place of anything requested before; on the caller's thread."""
        with self._lock:
            self._wanted = None
            self._ready(record, loaded)

    def _start(self) -> None:
        """Start a thread for the wanted bundle, unless a running one will take it. Call with the lock held."""
        if self._wanted is None or any(not late for _, late in self._loading.values()):
            return
        if any(record is self._wanted for record, _ in self._loading.values()):
            return
        if len(self._loading) >= MAX_HANGING:
            text = f"{len(self._loading)} loads of bundles hang; restart this replica"
            self._refused(self._wanted, Refusal(self._wanted.champion, "slow", text))
            return
        thread = threading.Thread(
            target=self._work, args=(self._wanted,), name=f"load-{self._wanted.champion}", daemon=True
        )
        self._loading[thread] = (self._wanted, False)
        thread.start()

    def _work(self, record: RolloutRecord) -> None:
        me = threading.current_thread()
        clock = threading.Timer(self._within_s, self._late, (me, record))
        clock.daemon = True
        clock.start()
        started = time.monotonic()
        loaded: Loaded | None = None
        try:
            with short_turns():
                loaded = self._load(record)
        except Exception as error:  # noqa: BLE001 - top of the thread: whatever fails in a bundle, the last good one stays
            refusal = Refusal.of(record.champion, error)
        clock.cancel()
        with self._lock:
            del self._loading[me]
            if self._wanted is not record:
                logger.info("bundle %s is loaded or refused, but a newer one was requested", record.champion)
            elif loaded is None:
                self._wanted = None
                self._refused(record, refusal)
            else:
                self._wanted = None
                logger.info("bundle %s was ready after %.1f s", record.champion, time.monotonic() - started)
                self._ready(record, loaded)
            self._start()

    def _late(self, thread: threading.Thread, record: RolloutRecord) -> None:
        with self._lock:
            if thread not in self._loading:
                return
            self._loading[thread] = (record, True)
            text = (
                f"not ready after {self._within_s:g} s; it is served once ready, unless another is requested"
            )
            self._refused(record, Refusal(_newest(record), "slow", text))
            self._start()


def _newest(record: RolloutRecord) -> str:
    """The version of a record that is loaded last, the one that hangs where the champion is served already."""
    return record.arms.get("challenger", record.champion)


@contextmanager
def short_turns() -> Iterator[None]:
    """Let waiting threads get the interpreter lock ten times sooner while this one computes."""
    sys.setswitchinterval(TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(USUAL_TURN_S)
