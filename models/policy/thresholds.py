"""From scores to decisions: thresholds by tenant and channel, or least expected loss. Works on columns, before rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from features.transaction import CHANNELS
from models.policy.problems import PolicyError
from models.policy.rules.columns import Batch

APPROVE, REVIEW, DECLINE = 0, 1, 2
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]
Cost = Annotated[float, Meta(ge=0, le=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Threshold(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds for one tenant, one channel, or one channel of one tenant. The most specific one applies.

    ``owner``: ``trainer`` if training chose them (``models.training.threshold_choice``); empty: a person did.
    """

    review: float
    decline: float
    tenant: str | None = None
    channel: str | None = None
    owner: str = ""


class ExpectedLoss(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The expected cost of each decision in minor units of ``currency``; the cheapest is taken, the stricter at a tie.

    With p the score and A the amount: approving costs ``p * A * loss_share``; a review costs ``review_cost_minor`` plus what
    it misses, ``p * A * loss_share * review_misses``; declining costs ``(1 - p) * (lost_customer_minor + A * lost_margin)``.
    ``rates``: the worth of one minor unit of another currency in minor units of ``currency``. Thresholds decide for a currency
    without a rate, and for a tenant that is not in ``tenants`` (empty: all tenants).
    """

    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    review_cost_minor: Cost
    lost_customer_minor: Cost
    loss_share: Share = 1.0
    review_misses: Share = 0.0
    lost_margin: Share = 0.0
    rates: dict[str, Annotated[float, Meta(gt=0, le=1e6)]] = {}
    tenants: tuple[str, ...] = ()

    def costs(self, chance: Floats, amount: Floats) -> Floats:
        """What each decision costs, in minor units of ``currency``: (3, n), by code.

        Args:
            chance: of fraud (n,); where it is known, 0 or 1.
            amount: (n,), minor units of ``currency``.
        """
        lost = chance * amount * self.loss_share
        review = self.review_cost_minor + lost * self.review_misses
        decline = (1 - chance) * (self.lost_customer_minor + amount * self.lost_margin)
        return np.stack([lost, review, decline])

    def rate_of(self, currencies: Sequence[str | None]) -> Floats:
        """The worth (n,) of one minor unit of each currency in minor units of ``currency``; NaN where it is not known."""
        rates = self.rates | {self.currency: 1.0}
        return np.array([rates.get(currency or "", np.nan) for currency in currencies])


class ScoreDecision:
    """Decides by score alone."""

    def __init__(
        self,
        review: float,
        decline: float,
        thresholds: Sequence[Threshold],
        expected_loss: ExpectedLoss | None,
    ) -> None:
        """Raises: PolicyError."""
        check_order("thresholds", review, decline)
        # scores are float32: thresholds must be too, or a score equal to its threshold could fall below it
        self._review, self._decline = np.float32(review), np.float32(decline)
        self._loss = expected_loss
        self._places: dict[str | None, int] = {}
        self._channels: dict[str, int] = {name: place for place, name in enumerate(CHANNELS, 1)}
        if thresholds:
            self._table = self._fill(thresholds)

    @property
    def plain(self) -> bool:
        """Whether there are only the two thresholds."""
        return not self._places and self._loss is None

    def decide(self, batch: Batch) -> Codes:
        """Codes int8 (n,); rows without a score get approve, and the caller replaces that.

        Raises:
            FieldUnknown: the decision needs tenants, channels, amounts or currencies, which the rows do not have.
        """
        codes = self.by_default(batch.scores)
        if self._places:
            review, decline = self._by_row(batch)
            codes = (batch.scores >= review).astype(np.int8) + (batch.scores >= decline)
        return codes if self._loss is None else self._cheapest(self._loss, batch, codes)

    def thresholds_of(self, tenant: str | None, channel: str | None) -> tuple[float, float]:
        """(review, decline) of one payment, where its expected loss does not decide."""
        if not self._places:
            return float(self._review), float(self._decline)
        pair = self._table[self._places.get(tenant, 0), self._channels.get(channel or "", 0)]
        return float(pair[0]), float(pair[1])

    def by_default(self, scores: npt.NDArray[np.float32]) -> Codes:
        """Codes by the policy's own two thresholds, for rows of which only the scores are known."""
        codes: Codes = (scores >= self._review).astype(np.int8) + (scores >= self._decline)
        return codes

    def _fill(self, thresholds: Sequence[Threshold]) -> npt.NDArray[np.float32]:
        """float32 (tenants + 1, channels + 1, 2); row and column 0 are for all others."""
        given: dict[tuple[str | None, str | None], Threshold] = {}
        for threshold in thresholds:
            key = (threshold.tenant, threshold.channel)
            name = (
                f"thresholds of {threshold.tenant or 'every tenant'}, {threshold.channel or 'every channel'}"
            )
            if key in given:
                raise PolicyError(f"{name} are given twice: keep one")
            if key == (None, None):
                raise PolicyError(
                    "thresholds for all tenants and channels are `review` and `decline` themselves"
                )
            if threshold.channel is not None and threshold.channel not in CHANNELS:
                raise PolicyError(f"{name}: channels are {', '.join(CHANNELS)}")
            check_order(name, threshold.review, threshold.decline)
            given[key] = threshold
        tenants = sorted({threshold.tenant for threshold in thresholds if threshold.tenant is not None})
        # never empty, so that thresholds by channel alone also count as present
        self._places = {tenant: place for place, tenant in enumerate([None, *tenants])}
        table = np.empty((len(tenants) + 1, len(CHANNELS) + 1, 2), np.float32)
        for tenant, row in self._places.items():
            for channel, column in ((None, 0), *self._channels.items()):
                found = (
                    given.get((tenant, channel)) or given.get((tenant, None)) or given.get((None, channel))
                )
                table[row, column] = (found.review, found.decline) if found else (self._review, self._decline)
        return table

    def _by_row(self, batch: Batch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        tenants = [self._places.get(tenant, 0) for tenant in batch.text("tenant")]
        channels = [self._channels.get(channel or "", 0) for channel in batch.text("channel")]
        pairs = self._table[tenants, channels]
        return pairs[:, 0], pairs[:, 1]

    def _cheapest(self, loss: ExpectedLoss, batch: Batch, codes: Codes) -> Codes:
        rate = loss.rate_of(batch.text("currency"))
        if loss.tenants:
            rate[[tenant not in loss.tenants for tenant in batch.text("tenant")]] = np.nan
        approve, review, decline = loss.costs(
            batch.scores.astype(np.float64), batch.number("amount_minor") * rate
        )
        best = np.where(
            decline <= np.minimum(review, approve), DECLINE, np.where(review <= approve, REVIEW, APPROVE)
        )
        return np.where(np.isnan(approve), codes, best).astype(np.int8)


def check_order(name: str, review: float, decline: float) -> None:
    """Raises: PolicyError."""
    if not 0 <= review <= decline <= 1:
        raise PolicyError(f"{name} must hold 0 <= review <= decline <= 1, got {review} and {decline}")
