"""What the stack's settings say of reviews: how many people can do a day and how soon, and what decisions cost. Pure.

Thresholds are chosen by the number and the costs; the console says what is left of the time.

``[review]`` of ``settings.toml``, for example:

    [review]
    per_day = 300                                # by all tenants that have no number of their own, together
    tenants = { shop-b = 40 }
    within_minutes = 240                         # of its decision a review is to be labelled

    [review.costs]                               # as `[expected_loss]` of a rules file
    currency = "EUR"
    review_cost_minor = 300
    lost_customer_minor = 2000
    rates = { USD = 0.92 }
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from models.policy.thresholds import ExpectedLoss

PerDay = Annotated[float, Meta(gt=0, le=1e9)]
TenantName = Annotated[str, Meta(min_length=1, max_length=64)]


class ReviewTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``per_day``: reviews that people can do a day; None: ``per_10k`` of 10,000 payments.

    ``tenants``: reviews a day for tenants whose payments other people review. ``costs`` None: those of
    ``models.training.threshold_choice.usual_costs``, and at least a share ``decline_precision`` of what is declined are frauds. ``within_minutes``:
    the time from its decision in which a review is to be labelled.
    """

    per_day: PerDay | None = None
    per_10k: Annotated[float, Meta(gt=0, le=10_000)] = 60.0
    tenants: dict[TenantName, PerDay] = {}
    costs: ExpectedLoss | None = None
    decline_precision: Annotated[float, Meta(ge=0, le=1)] = 0.7
    within_minutes: Annotated[int, Meta(ge=1, le=43_200)] = 240

    def __post_init__(self) -> None:
        if self.costs is not None and self.costs.tenants:
            raise ValueError("costs hold for every tenant: leave their `tenants` out")

    def able(self, tenant: str | None, payments_per_day: float) -> float:
        """Reviews a day that people can do for a tenant, or (None) for all that have no number of their own."""
        own = self.per_day if tenant is None else self.tenants.get(tenant, self.per_day)
        return own if own is not None else payments_per_day * self.per_10k / 10_000


NO_TERMS = ReviewTerms()
