"""Answered retraining requests, stored in ``<home>/trainer/answers.json`` so that a restart answers none twice."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from streams.access.private_files import write_private
from streams.contracts.retraining import RetrainingRequest

Result = Literal["published", "rejected", "refused", "failed"]
#: answers kept; a request repeated after this many others would be answered again
KEPT = 2_000


class TrainerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a request: ``version`` if a bundle was published, ``reason`` if it failed its gates or there is none."""

    dedupe_key: str
    model: str
    result: Result
    requested_at: datetime
    answered_at: datetime
    version: str | None = None
    reason: str = ""


class Answers:
    """The answers of one stack, newest last. Each change rewrites the file atomically."""

    def __init__(self, folder: Path) -> None:
        self._path = Path(folder) / "answers.json"
        self._answers: list[TrainerAnswer] = []
        if self._path.exists():
            self._answers = msgspec.json.decode(self._path.read_bytes(), type=list[TrainerAnswer])

    def find(self, dedupe_key: str) -> TrainerAnswer | None:
        """The answer to the request with this key, or None."""
        return next((a for a in reversed(self._answers) if a.dedupe_key == dedupe_key), None)

    def settled(self, request: RetrainingRequest, rejected: Collection[str]) -> bool:
        """Whether the request needs no other answer: its key led to a model, or it was made before its key was last answered.

        After a failure, a refusal, or a model that was rejected, the same may be asked again.

        Args:
            rejected: versions that were rejected.
        """
        last = self.find(request.dedupe_key)
        if last is None:
            return False
        led_to_model = last.result == "published" and last.version not in rejected
        return led_to_model or request.requested_at <= last.answered_at

    def cooling(self, request: RetrainingRequest, rejected: Collection[str]) -> str | None:
        """Why the request is too soon after the last published model that was not rejected, or None if it is not."""
        published = [
            a for a in self._answers
            if a.model == request.model and a.result == "published" and a.version not in rejected
        ]  # fmt: skip
        if not published:
            return None
        last = published[-1]
        until = last.requested_at + timedelta(seconds=request.cooldown_s)
        if request.requested_at >= until:
            return None
        return f"{last.version} was trained for a request of {last.requested_at.isoformat()}: cooling down until {until.isoformat()}"

    def add(self, answer: TrainerAnswer) -> None:
        self._answers = [*self._answers, answer][-KEPT:]
        write_private(self._path, msgspec.json.encode(self._answers))
