"""What a replica serves at one moment: the champion's scorer, and the challenger's while a rollout is under way. Read once per batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.rollout.arms import CHALLENGER, arm_of
from models.scoring.scorer import Scorer


@dataclass(frozen=True)
class Challenger:
    """The challenger of a rollout.

    ``share``: of the cards that it decides, 0 to 1; ``salt``: of their hash. ``shadow``: it also scores what the champion
    decides. ``run``: id of the rollout. Payments received before ``from_ms`` (since 1970) are decided by the share ``before``.
    """

    scorer: Scorer
    share: float = 0.0
    salt: str = ""
    shadow: bool = False
    run: str = ""
    from_ms: float = 0.0
    before: float = 0.0

    def rows_of(self, cards: Sequence[str], received_ms: Sequence[int]) -> list[int]:
        """The rows that the challenger decides. ``cards``: the card of each row; ``received_ms``: since 1970."""
        share, before, salt, from_ms = self.share, self.before, self.salt, self.from_ms
        if share <= 0 and before <= 0:
            return []
        return [
            row
            for row, (card, moment) in enumerate(zip(cards, received_ms, strict=True))
            if arm_of(salt, card, share if moment >= from_ms else before) == CHALLENGER
        ]


@dataclass(frozen=True)
class Serving:
    """The scorers of both arms; ``champion`` is None while there is no bundle."""

    champion: Scorer | None = None
    challenger: Challenger | None = None

    @property
    def scorers(self) -> list[Scorer]:
        """Those that are loaded."""
        challenger = self.challenger.scorer if self.challenger is not None else None
        return [scorer for scorer in (self.champion, challenger) if scorer is not None]

    @property
    def versions(self) -> dict[str, str]:
        """Version by arm."""
        arms = zip(("champion", "challenger"), self.scorers, strict=False)
        return {arm: scorer.version for arm, scorer in arms}


NOTHING = Serving()
