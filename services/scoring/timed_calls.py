"""Calls that must not hold their caller up: made on a thread of their own, and waited for no longer than told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class TimedCalls:
    """One call at a time. One that cannot be waited for goes on unheard, and until it ends all others fail at once.

    The thread begins with the first call, and ends with the process: a call that hangs keeps nobody from stopping.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
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
                self._thread = threading.Thread(target=self._work, name="timed-calls", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            future, work = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it
                future.set_exception(error)
