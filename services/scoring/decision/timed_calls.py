"""Calls with a time limit: each runs on a separate thread, and its caller waits no longer than the limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")
Calls: TypeAlias = "SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]"


class TimedCalls:
    """One call at a time. A call over its limit keeps running; until it ends, all others fail at once.

    The thread starts with the first call. It is a daemon, so a call that hangs does not keep the process from ending.
    """

    def __init__(self) -> None:
        self._calls: Calls = SimpleQueue()
        self._hanging: Future[Any] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], Result], within_s: float) -> Result:
        """Run ``work``; return what it returns, raise what it raises.

        Raises:
            TimeoutError: ``work`` took longer than ``within_s``, or an earlier call still hangs.
        """
        if self._hanging is not None and not self._hanging.done():
            raise TimeoutError("an earlier call still hangs")
        self._start()
        future: Future[Result] = Future()
        self._calls.put((future, work))
        try:
            return future.result(within_s)
        except TimeoutError:
            # a call that has not started is cancelled and never runs
            if not future.cancel() and not future.done():
                self._hanging = future
            raise

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                # the thread refers to the queue only, so this object can be collected, which ends the thread
                self._thread = threading.Thread(
                    target=_work_off, args=(self._calls,), name="timed-calls", daemon=True
                )
                self._thread.start()

    def __del__(self) -> None:
        self._calls.put(None)


def _work_off(calls: Calls) -> None:
    """Run calls from the queue until it gives None."""
    while (call := calls.get()) is not None:
        future, work = call
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised in the caller
                future.set_exception(error)
        # `work` may hold a model: do not keep it until the next call
        del call, future, work
