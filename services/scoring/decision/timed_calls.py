"""Calls that must not hold their caller up: made on a thread of their own, and waited for no longer than told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")
Calls: TypeAlias = "SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]"


class TimedCalls:
    """One call at a time. One that cannot be waited for goes on unheard, and until it ends all others fail at once.

    The thread begins with the first call, and ends with the process: a call that hangs keeps nobody from stopping.
    """

    def __init__(self) -> None:
        self._calls: Calls = SimpleQueue()
        self._hanging: Future[Any] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], Result], within_s: float) -> Result:
        """What ``work`` returns or raises.

        Raises:
            TimeoutError: not within ``within_s``, or one before it hangs.
        """
        if self._hanging is not None and not self._hanging.done():
            raise TimeoutError("an earlier call still hangs")
        self._start()
        future: Future[Result] = Future()
        self._calls.put((future, work))
        try:
            return future.result(within_s)
        except TimeoutError:
            # one that waits for another's end is not begun any more
            if not future.cancel() and not future.done():
                self._hanging = future
            raise

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                # it knows the queue alone: this object goes when nobody else needs it, and the thread with it
                self._thread = threading.Thread(
                    target=_work_off, args=(self._calls,), name="timed-calls", daemon=True
                )
                self._thread.start()

    def __del__(self) -> None:
        self._calls.put(None)


def _work_off(calls: Calls) -> None:
    """Make calls as they come, until None does."""
    while (call := calls.get()) is not None:
        future, work = call
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it
                future.set_exception(error)
        # what was called may hold a model that is replaced before the next one comes
        del call, future, work
