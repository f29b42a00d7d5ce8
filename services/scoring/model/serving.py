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
    decides. ``run``: id of the rollout.
    """

    scorer: Scorer
    share: float = 0.0
    salt: str = ""
    shadow: bool = False
    run: str = ""

    def rows_of(self, cards: Sequence[str]) -> list[int]:
        """The rows that the challenger decides. ``cards``: the card of each row."""
        if self.share <= 0:
            return []
        salt, share = self.salt, self.share
        return [row for row, card in enumerate(cards) if arm_of(salt, card, share) == CHALLENGER]


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
