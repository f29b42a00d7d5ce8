"""Shares of fraud stopped in each phase of a story: differences of a scoreboard between two moments. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.traffic.scoreboard import Scoreboard


@dataclass(frozen=True)
class Counts:
    """Of a scoreboard's decisions. ``attack``: frauds of the attack's kind; ``stopped``: reviewed or declined."""

    frauds: int = 0
    stopped: int = 0
    attack: int = 0
    attack_stopped: int = 0
    honest: int = 0
    false_alarms: int = 0

    @classmethod
    def of(cls, board: Scoreboard, kind: str) -> Counts:
        return cls(
            board.fraud.total(), board.caught.total(), board.fraud[kind], board.caught[kind], board.honest,
            board.false_alarms,
        )  # fmt: skip

    def since(self, before: Counts) -> Counts:
        return Counts(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))

    @property
    def share(self) -> float | None:
        """Of the frauds, those that were stopped; None without frauds."""
        return self.stopped / self.frauds if self.frauds else None

    @property
    def attack_share(self) -> float | None:
        """Of the attack's payments, those that were stopped; None without any."""
        return self.attack_stopped / self.attack if self.attack else None

    def told(self) -> str:
        """In words."""
        return (
            f"fraud stopped {_part(self.stopped, self.frauds)}, of the attack's kind {_part(self.attack_stopped, self.attack)}, "
            f"false alarms {_part(self.false_alarms, self.honest, 2)}"
        )


class Phases:
    """The phases of a story so far, in order; one of them is under way."""

    def __init__(self, board: Scoreboard, kind: str) -> None:
        self._board, self._kind = board, kind
        self._ended: dict[str, Counts] = {}
        self._name, self._begun = "", Counts()

    def begin(self, name: str) -> None:
        """End the phase under way, and begin another."""
        if self._name:
            self._ended[self._name] = self.now
        self._name, self._begun = name, Counts.of(self._board, self._kind)

    @property
    def now(self) -> Counts:
        """Of the phase under way."""
        return Counts.of(self._board, self._kind).since(self._begun)

    def of(self, name: str) -> Counts:
        """Raises: KeyError: there was no such phase."""
        return self.now if name == self._name else self._ended[name]

    def lines(self) -> list[str]:
        """A table for people: a line each."""
        rows = {**self._ended, self._name: self.now} if self._name else self._ended
        head = f"{'':<34}{'frauds':>8}{'stopped':>9}{'share':>8}{'attack':>9}{'stopped':>9}{'share':>8}{'false alarms':>14}"
        return [head, *(_row(name, counts) for name, counts in rows.items())]


def _row(name: str, found: Counts) -> str:
    return (
        f"{name:<34}{found.frauds:>8,}{found.stopped:>9,}{_percent(found.share):>8}{found.attack:>9,}{found.attack_stopped:>9,}"
        f"{_percent(found.attack_share):>8}{_percent(found.false_alarms / found.honest if found.honest else None, 2):>14}"
    )


def _percent(share: float | None, digits: int = 0) -> str:
    return "-" if share is None else f"{share:.{digits}%}"


def _part(part: int, whole: int, digits: int = 0) -> str:
    return f"{part:,} of {whole:,}" + (f" ({part / whole:.{digits}%})" if whole else "")
