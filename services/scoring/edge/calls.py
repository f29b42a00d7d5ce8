"""One request at the edge, however many transactions it holds: one future, and a count of the answers that it lacks."""

from __future__ import annotations

import asyncio
from typing import Any

from services.scoring.edge.problems import Problem

#: a decision's JSON, or why there is none
Answer = bytes | Problem


class Call:
    """``future`` gives the answers in their order once all are there. It is this request's alone."""

    __slots__ = ("_answers", "_left", "future", "timer")

    def __init__(self, size: int) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        #: ends the wait at the request's deadline
        self.timer: asyncio.TimerHandle | None = None
        self._answers: list[Any] = [None] * size
        self._left = size
        if not size:
            self._finish(self._answers)

    def put(self, place: int, answer: Answer) -> None:
        """Answer one transaction; each place is answered once."""
        self._answers[place] = answer
        self._left -= 1
        if self._left:
            return
        if self.timer is not None:
            self.timer.cancel()
        # who waited may be gone
        if not self.future.done():
            self._finish(self._answers)

    def _finish(self, answers: list[Any]) -> None:
        self.future.set_result(answers)


class SingleCall(Call):
    """Its future gives the one decision's JSON, or raises the Problem."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(1)

    def _finish(self, answers: list[Any]) -> None:
        (answer,) = answers
        if isinstance(answer, Problem):
            self.future.set_exception(answer)
            # where nobody waits any more nobody retrieves it, and that is in order
            self.future.exception()
        else:
            self.future.set_result(answer)
