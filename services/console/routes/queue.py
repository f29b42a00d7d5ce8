"""The queue: open reviews by expected loss and age; take, renew, hand over, label, take back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from features.identity import DEFAULT_TENANT
from services.console.kept.rows import as_json, instant
from services.console.people.caller import Caller, Here, Labeller, Reader
from services.console.problems import Problem, invalid
from services.console.routes.asking import (
    Cursor,
    Filters,
    OneTenant,
    Tenant,
    WithTenant,
    cursor_text,
    identity_for,
    placed,
)
from services.console.routes.decisions import Id, Limit
from services.console.wiring import Console
from services.console.work.desk import Place
from streams.access.directory import Member, read_directory

router = APIRouter(prefix="/api/v1/queue", tags=["queue"])
MAX_BULK = 500
LabelName = Literal["fraud", "legit"]


class Queue(BaseModel):
    """Open reviews, the most urgent first. ``rows``: each a DecisionRow. ``open``: how many fit. ``mark``: for ``after``, whatever is newer.
    ``next``: for the page after, null at the end."""

    rows: list[dict[str, Any]]
    open: int
    mark: int
    next: str | None
    as_of: str | None


class Lock(BaseModel):
    """Who works on a review, until when."""

    owner: str
    until: str
    mine: bool


class ToPerson(WithTenant):
    """The person who gets a lock."""

    to: str = Field(min_length=1, max_length=64)


class NewLabel(WithTenant):
    """What a payment was, and a note."""

    label: LabelName
    note: str | None = Field(default=None, max_length=2000)
    #: refused where somebody has labelled it already; else the label corrects that one
    first: bool = False


class Item(WithTenant):
    """One review."""

    transaction_id: str = Field(min_length=1, max_length=64)


class BulkLabel(BaseModel):
    """What these payments were. None of them may be labelled already."""

    items: list[Item] = Field(min_length=1, max_length=MAX_BULK)
    label: LabelName


@router.get("")
def queue(
    caller: Reader,
    console: Here,
    wanted: Filters,
    tenant: Tenant = None,
    locked: Literal["any", "free", "mine"] = "any",
    limit: Limit = 100,
    cursor: Cursor = None,
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> Queue:
    """Open reviews by expected loss times age; with ``after`` only those that came after the answer with this ``mark``."""
    now_ms, mark = console.now_ms, console.desk.mark()
    wanted = replace(wanted, tenants=tuple(caller.seen(tenant)), after=after)
    rows, last = console.desk.items(
        wanted, caller.name, now_ms, locked=locked, limit=limit, after=placed(Place, cursor)
    )
    shown = [as_json(row, now_ms, caller.name) for row in rows]
    return Queue(
        rows=shown,
        open=console.desk.open_count(wanted),
        mark=mark,
        next=cursor_text(last),
        as_of=instant(now_ms),
    )


@router.post("/next")
def take_next(
    caller: Labeller, console: Here, wanted: Filters, response: Response, tenant: Tenant = None
) -> Any:
    """Lock the most urgent review that nobody works on; 204 when there is none."""
    wanted = replace(wanted, tenants=tuple(caller.seen(tenant)))
    row = console.desk.take_next(wanted, caller.name, console.now_ms)
    if row is None:
        return Response(status_code=204)
    return as_json(row, console.now_ms, caller.name)


@router.post("/label", status_code=202)
def label_many(body: BulkLabel, caller: Labeller, console: Here) -> dict[str, Any]:
    """Label many at once; those that cannot be are named."""
    return label_each(console, caller, body.items, body.label, first=True)


def label_each(
    console: Console, caller: Caller, items: Sequence[Item], label: LabelName, *, first: bool = False
) -> dict[str, Any]:
    """Label payments; ``refused`` names those that cannot be, and why."""
    accepted, refused, sends_at = [], [], None
    for item in items:
        try:
            identity = identity_for(caller, item.tenant, item.transaction_id)
            made = console.desk.label(identity, label, caller.name, console.now_ms, first=first)
        except Problem as problem:
            refused.append(
                {"transaction_id": item.transaction_id, "tenant": item.tenant, "reason": str(problem)}
            )
        else:
            accepted.append(item.transaction_id)
            sends_at = made["sends_at"]
    return {"accepted": accepted, "refused": refused, "sends_at": sends_at}


@router.get("/colleagues")
def colleagues(_: Labeller, console: Here) -> list[str]:
    """The people who may label."""
    return [
        member.name for member in read_directory(console.settings.access_dir).members if _may_label(member)
    ]


def _may_label(member: Member) -> bool:
    return member.active and member.role != "service" and member.may("label")


def colleague(console: Console, name: str) -> str:
    """The name of a person who may label. Raises: Problem 422."""
    member = read_directory(console.settings.access_dir).active(name)
    if member is None or not _may_label(member):
        raise invalid("to", f"{name} is nobody who may label")
    return name


@router.put("/{transaction_id:path}/lock")
def lock(transaction_id: Id, body: WithTenant, caller: Labeller, console: Here) -> Lock:
    """Take a review, or renew its lock."""
    identity = identity_for(caller, body.tenant, transaction_id)
    return Lock(**console.desk.lock(identity, caller.name, console.now_ms))


@router.delete("/{transaction_id:path}/lock", status_code=204)
def release(transaction_id: Id, caller: Labeller, console: Here, tenant: OneTenant = DEFAULT_TENANT) -> None:
    """Give a review back."""
    console.desk.release(identity_for(caller, tenant, transaction_id), caller.name, console.now_ms)


@router.post("/{transaction_id:path}/hand-over")
def hand_over(transaction_id: Id, body: ToPerson, caller: Labeller, console: Here) -> Lock:
    """Give a review to another person who may label."""
    to = colleague(console, body.to)
    identity = identity_for(caller, body.tenant, transaction_id)
    return Lock(**console.desk.hand_over(identity, caller.name, to, console.now_ms))


@router.post("/{transaction_id:path}/label", status_code=202)
def label(transaction_id: Id, body: NewLabel, caller: Labeller, console: Here) -> dict[str, Any]:
    """Say what a payment was; sent to `labels` ten seconds later, until when it can be taken back."""
    identity = identity_for(caller, body.tenant, transaction_id)
    made = console.desk.label(identity, body.label, caller.name, console.now_ms, first=body.first)
    if body.note:
        console.desk.add_note(identity, caller.name, body.note, console.now_ms)
    return made


@router.delete("/{transaction_id:path}/label", status_code=204)
def take_back(
    transaction_id: Id, caller: Labeller, console: Here, tenant: OneTenant = DEFAULT_TENANT
) -> None:
    """Take a label back that was not sent yet."""
    console.desk.take_back(identity_for(caller, tenant, transaction_id), caller.name, console.now_ms)
