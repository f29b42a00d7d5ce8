"""Parameters that several routes share: which decisions, of which tenant, at which time."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel, Field

from features.identity import DEFAULT_TENANT, identity_of
from services.console.kept.rows import Wanted
from services.console.people.caller import Caller
from services.console.problems import invalid, unknown
from streams.contracts.text.identifiers import checked_identifier

Tenant = Annotated[
    str | None, Query(max_length=64, description="one tenant; default: all that the person sees")
]
OneTenant = Annotated[str, Query(max_length=64, description="whose transaction")]
Text = Annotated[str | None, Query(max_length=128)]
Moment = Annotated[AwareDatetime | None, Query()]
Score = Annotated[float | None, Query(ge=0, le=1)]
Cursor = Annotated[str | None, Query(max_length=256, description="``next`` of the page before")]
Named = TypeVar("Named", bound=tuple[Any, ...])
Why = Annotated[str, Field(min_length=1, max_length=500)]


class WithTenant(BaseModel):
    """Names the tenant of a transaction."""

    tenant: str = Field(default=DEFAULT_TENANT, max_length=64)


class Reason(BaseModel):
    """Why something is asked; it stands on the audit."""

    why: Why


def _filters(
    decision: Annotated[list[Literal["review", "decline"]] | None, Query()] = None,
    status: Annotated[list[Literal["scored", "degraded", "not_scored"]] | None, Query()] = None,
    card: Text = None,
    merchant: Text = None,
    device: Text = None,
    ip: Text = None,
    customer: Text = None,
    rule: Text = None,
    reason: Text = None,
    currency: Annotated[str | None, Query(min_length=3, max_length=3)] = None,
    label: Annotated[Literal["fraud", "legit", "none"] | None, Query()] = None,
    begin: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to")] = None,
    min_score: Score = None,
    max_score: Score = None,
    q: Text = None,
) -> Wanted:
    named = {"card": card, "merchant": merchant, "device": device, "ip": ip, "customer": customer}
    return Wanted(
        decisions=decision or (), statuses=status or (), entities={name: value for name, value in named.items() if value},
        rule=rule, reason=reason, currency=currency, label=label, begin_ms=milliseconds(begin), end_ms=milliseconds(end),
        min_score=min_score, max_score=max_score, id_prefix=q,
    )  # fmt: skip


#: which decisions; the route adds whose
Filters = Annotated[Wanted, Depends(_filters)]


def identity_for(caller: Caller, tenant: str, transaction_id: str) -> str:
    """The identity of a transaction that the caller may see. Raises: Problem 404; InvalidEvent: no identifier."""
    checked = checked_identifier("transaction_id", transaction_id)
    if not caller.sees(tenant):
        raise unknown(f"no decision is known of {checked} (tenant {tenant})")
    return identity_of(checked_identifier("tenant", tenant), checked)


def milliseconds(moment: datetime | None) -> int | None:
    """A moment in milliseconds since 1970."""
    return None if moment is None else int(moment.timestamp() * 1000)


def cursor_text(place: tuple[Any, ...] | None) -> str | None:
    """Where a page ended, for the request of the next one; None: it was the last."""
    return None if place is None else base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def placed(kind: type[Named], cursor: str | None) -> Named | None:
    """Where the page before ended. Raises: Problem 422."""
    if not cursor:
        return None
    try:
        found: Named = msgspec.convert(msgspec.json.decode(base64.urlsafe_b64decode(cursor)), kind)
    except ValueError:
        raise invalid("cursor", "this is no cursor of a page") from None
    return found
