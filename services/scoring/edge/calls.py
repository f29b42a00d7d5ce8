"""One request at the edge, for one or many transactions: one future, and a count of missing answers."""

from __future__ import annotations

import asyncio
from typing import Any

from services.scoring.edge.problems import Problem

#: a decision's JSON, or the Problem in its place
Answer = bytes | Problem


class Call:
    """``future`` gives the answers in order once all are there, at the latest at the request's deadline. Each request has a future of its own."""

    __slots__ = ("_answers", "_left", "future", "timer")

    def __init__(self, size: int) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        #: ends the wait at the request's deadline
        self.timer: asyncio.TimerHandle | None = None
        self._answers: list[Any] = [None] * size
        self._left = size
        if not size:
            self._finish(self._answers)

    @property
    def waits(self) -> bool:
        """Whether an answer is missing."""
        return self._left > 0

    def expire(self, problem: Problem) -> None:
        """The deadline has passed: give ``problem`` wherever there is no answer, whoever should have given one."""
        for place in [place for place, answer in enumerate(self._answers) if answer is None]:
            self.put(place, problem)

    def put(self, place: int, answer: Answer) -> None:
        """Set the answer at index ``place``; the first one holds."""
        if self._answers[place] is not None:
            return
        self._answers[place] = answer
        self._left -= 1
        if self._left:
            return
        if self.timer is not None:
            self.timer.cancel()
        # the caller may have gone away and cancelled it
        if not self.future.done():
            self._finish(self._answers)

    def _finish(self, answers: list[Any]) -> None:
        self.future.set_result(answers)


class SingleCall(Call):
    """A request of one transaction: its future gives the decision's JSON, or raises the Problem."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(1)

    def _finish(self, answers: list[Any]) -> None:
        (answer,) = answers
        if isinstance(answer, Problem):
            self.future.set_exception(answer)
            # marks it as retrieved: asyncio would log an error if the caller has gone away
            self.future.exception()
        else:
            self.future.set_result(answer)
