"""Which arm decides the payments of a card: by a hash of the card, never of the payment. Pure.

The hash is salted with the rollout, so that each rollout tries its model on other cards. A card that is the challenger's at a share
of 1 % is the challenger's at every greater share: no card changes its arm while the share grows.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Arm = Literal["champion", "challenger"]
CHAMPION: Arm = "champion"
CHALLENGER: Arm = "challenger"
_HASH_BYTES = 8
_RANGE = float(2 ** (8 * _HASH_BYTES))


def position(salt: str, card_id: str) -> float:
    """Where a card stands between 0 (included) and 1; uniform over cards."""
    digest = blake2b(card_id.encode(), digest_size=_HASH_BYTES, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") / _RANGE


def arm_of(salt: str, card_id: str, share: float) -> Arm:
    """The arm of a card while the challenger has ``share`` (0 to 1) of the cards.

    Args:
        salt: of the rollout, at most 64 bytes.
    """
    return CHALLENGER if share > 0 and position(salt, card_id) < share else CHAMPION
