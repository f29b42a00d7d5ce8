"""Links: what an entity shares with others, up to two steps away."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from features.identity import DEFAULT_TENANT
from services.console.kept.links import links
from services.console.kept.rows import Wanted
from services.console.people.caller import Here, Reader
from services.console.routes.asking import OneTenant, milliseconds

router = APIRouter(prefix="/api/v1", tags=["links"])
Kind = Literal["card", "merchant", "device", "ip", "customer"]


@router.get("/links")
def around(
    caller: Reader,
    console: Here,
    kind: Kind,
    name: Annotated[str, Query(alias="id", min_length=1, max_length=64)],
    tenant: OneTenant = DEFAULT_TENANT,
    begin: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """Up to 200 entities at most two steps from one, over payments that were not approved; the links with their rarity."""
    (of,) = caller.seen(tenant)
    wanted = Wanted(tenants=(of,), begin_ms=milliseconds(begin), end_ms=milliseconds(end))
    return {"kind": kind, "id": name, "tenant": of, **links(console.database.read(), wanted, (kind, name))}
