"""What the routes need, in one value; ``services.console.main`` makes the real one, tests make one with fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.console.kept.database import Database
from services.console.kept.follower import Standing
from services.console.outside.parts import Outside
from services.console.people.door import Door
from services.console.people.sessions import Sessions
from services.console.people.turns import Turns
from services.console.work.cases import Cases
from services.console.work.desk import Desk
from streams.runtime.settings import Settings


@dataclass(frozen=True)
class Console:
    """One console. ``clock``: seconds since 1970; ``standing``: how far it is behind Kafka."""

    settings: Settings
    database: Database
    sessions: Sessions
    door: Door
    desk: Desk
    cases: Cases
    outside: Outside
    standing: Callable[[], Standing]
    clock: Callable[[], float]
    version: str
    turns: Turns = field(default_factory=Turns)

    @property
    def port(self) -> int:
        """The port that people's browsers know."""
        return int(self.settings.console.rsplit(":", 1)[1])

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by https."""
        return self.settings.console.startswith("https:")

    @property
    def now_ms(self) -> int:
        """The clock in milliseconds."""
        return int(self.clock() * 1000)

    def behind(self) -> dict[str, Any]:
        """How far what it shows is behind `decisions`."""
        standing = self.standing()
        return {
            "behind_s": standing.seconds, "behind_records": standing.records, "problem": standing.problem or None,
        }  # fmt: skip
