"""The lists of the live policy: their entries, and changes from CSV that are shown before they are proposed; another person approves."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, Field

from models.policy.policy_export import as_toml
from services.console.outside.lists import SHOWN, Changed, ListChange, Mode, changed, entry_row
from services.console.people.caller import Here, Proposer, Reader
from services.console.problems import Problem, unknown
from services.console.routes.asking import Why
from services.console.wiring import Console

router = APIRouter(prefix="/api/v1/lists", tags=["rules"])
MAX_CSV, MAX_ROWS = 1_500_000, 1_000
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Text = Annotated[str | None, Field(max_length=300)]


class Change(BaseModel):
    """Entries in CSV with the column ``value`` and optionally ``expires``, ``owner``, ``reason``; of a new list also what it is."""

    mode: Mode = "add"
    csv: str = Field(max_length=MAX_CSV)
    kind: Text = None
    field: Text = None
    owner: Text = None
    reason: Text = None
    expires: AwareDatetime | None = None
    tenants: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        default=None, max_length=100
    )


class Proposed(Change):
    """A change, why it is proposed, and the case that it comes from."""

    why: Why
    case: int | None = Field(default=None, ge=1)


@router.get("/{name}")
def entries(
    name: Name,
    _: Reader,
    console: Here,
    q: Annotated[str, Query(max_length=64)] = "",
    within_days: Annotated[int | None, Query(ge=0, le=3650, description="only what expires so soon")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 200,
) -> dict[str, Any]:
    """One list with its entries, what expires first at the top."""
    live, now = console.outside.live_policy(), console.door.now()
    found = next((each for each in live.lists if each.name == name), None)
    if found is None:
        raise unknown(f"there is no list {name} in policy {live.version}")
    until = None if within_days is None else now + timedelta(days=within_days)
    rows = []
    for entry in found.entries:
        expires = entry.expires or found.expires
        if q in entry.value and (until is None or (expires is not None and now < expires <= until)):
            rows.append((expires, entry))
    rows.sort(key=lambda each: (each[0] or now, each[1].value))
    return {
        "name": found.name, "kind": found.kind, "field": found.field, "owner": found.owner, "reason": found.reason,
        "expires": found.expires.isoformat() if found.expires else None, "tenants": list(found.tenants),
        "policy_version": live.version, "counted": len(rows),
        "rows": [entry_row(found, entry, now) for _, entry in rows[:limit]],
    }  # fmt: skip


@router.post("/{name}/preview")
def preview(name: Name, body: Change, _: Proposer, console: Here) -> dict[str, Any]:
    """What a change would do, and everything that is wrong with it; not an error of the request."""
    made, checked = _checked(console, name, body)
    now = console.door.now()
    after = next((each for each in made.policy.lists if each.name == name), None)
    rows = [] if after is None else [{"fate": fate, **entry_row(after, entry, now)} for fate, entry in made.entries[:SHOWN]]  # fmt: skip
    return {
        "good": not checked["errors"], "errors": checked["errors"], "warnings": checked["warnings"],
        "counts": dict.fromkeys(("new", "changed", "removed", "same"), 0) | Counter(fate for fate, _ in made.entries),
        "rows": rows, "policy_version": made.policy.version,
    }  # fmt: skip


@router.post("/{name}/propose")
def propose(name: Name, body: Proposed, caller: Proposer, console: Here) -> Any:
    """Publish the live model with the changed list; another person approves it."""
    made, checked = _checked(console, name, body)
    if checked["errors"]:
        raise Problem(422, "invalid", "; ".join(checked["errors"][:5]), "csv")
    if body.case is not None:
        # a case that cannot be changed is found before anything is published
        console.cases.payments_of(body.case, caller.tenants)
    answer = console.outside.propose_rules(_text(made), caller.name, body.why)
    if body.case is not None:
        values = [entry.value for fate, entry in made.entries if fate != "same"]
        console.cases.note(
            body.case, caller.tenants, caller.name, "proposed", body.why, console.now_ms, list=name, mode=body.mode,
            entries=values[:20], version=answer.get("version"),
        )  # fmt: skip
    return answer


def _checked(console: Console, name: str, body: Change) -> tuple[Changed, dict[str, Any]]:
    fields = body.model_dump(exclude={"tenants", "why", "case"})
    tenants = None if body.tenants is None else tuple(body.tenants)
    made = changed(console.outside.live_policy(), ListChange(name=name, tenants=tenants, **fields))
    if made.errors:
        return made, {"errors": made.errors, "warnings": []}
    return made, console.outside.check_rules(_text(made))


def _text(made: Changed) -> str:
    return as_toml(made.policy, f"policy {made.policy.version} with a changed list")
