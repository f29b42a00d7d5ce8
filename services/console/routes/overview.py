"""The overview: what happens now, counts by kind over time, and a stream of what is new."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from services.console.kept.rows import Wanted, instant
from services.console.kept.ticks import series, total
from services.console.kept.trimming import DAY_S, KEEP_DAYS
from services.console.people.caller import Here, Reader, cookie_name, still_signed_in
from services.console.problems import invalid, too_many
from services.console.routes.asking import Moment, Tenant
from services.console.wiring import Console
from streams.log.rollouts.feed import RolloutsUnreachable

router = APIRouter(prefix="/api/v1", tags=["overview"])
#: a second is complete so long after its end: decisions are read a few times a second
SETTLED_S = 2
#: streams that one console serves at once, and how often each looks
MAX_STREAMS, EVERY_S, HEARTBEAT_EVERY = 64, 1.0, 15
#: a stream asks again whether its session still lives; that does not lengthen the session
SESSION_EVERY = 10
LABEL_DAYS = 30
_streams = asyncio.Semaphore(MAX_STREAMS)
#: of these, streams of one person: who opened all would leave none for the others
MAX_EACH = 8
watching: Counter[str] = Counter()


@router.get("/overview")
def overview(caller: Reader, console: Here, tenant: Tenant = None) -> dict[str, Any]:
    """What happens now. Parts that cannot be reached are null."""
    tenants, now_ms = caller.seen(tenant), console.now_ms
    connection = console.database.read()
    now_s = now_ms // 1000
    status = console.outside.status()
    rows = connection.execute("SELECT count(*) FROM decision").fetchone()[0]
    return {
        "at": instant(now_ms), "state": status["state"], "problems": status["problems"], "model": status["model"],
        "rollout": _rollout(console), "alerts": status["alerts"], "lag": console.outside.lag(),
        "last_minute": total(connection, now_s - 60 - SETTLED_S, now_s - SETTLED_S, tenants),
        "queue": console.desk.standing(tenants, now_ms, 60 * console.settings.review.within_minutes), "labels": _labels(console, tenants, now_ms),
        "console": {**console.behind(), "days": KEEP_DAYS, "rows": rows},
    }  # fmt: skip


@router.get("/series")
def counts(
    caller: Reader,
    console: Here,
    seconds: Annotated[int, Query(ge=1, le=KEEP_DAYS * DAY_S)] = 900,
    step: Annotated[int, Query(ge=1, le=DAY_S)] = 1,
    begin: Annotated[Moment, Query(alias="from")] = None,
    end: Annotated[Moment, Query(alias="to")] = None,
    tenant: Tenant = None,
) -> dict[str, Any]:
    """Decisions by kind and their latencies, in steps: the last ``seconds``, or a span of time."""
    until = console.now_ms // 1000 - SETTLED_S + 1 if end is None else int(end.timestamp())
    since = until - seconds if begin is None else int(begin.timestamp())
    try:
        return series(console.database.read(), since, until, step, caller.seen(tenant)).columns()
    except ValueError as error:
        raise invalid("step", str(error)) from error


@router.get("/events", response_class=StreamingResponse)
async def events(request: Request, caller: Reader, console: Here, tenant: Tenant = None) -> StreamingResponse:
    """Server-sent events: ``second``, ``queue``, ``behind``, ``alerts``, ``signed_out``."""
    tenants = list(caller.seen(tenant))
    if _streams.locked():
        raise too_many("too many people watch at this moment", 5)
    if watching[caller.name] >= MAX_EACH:
        raise too_many(f"you watch in {MAX_EACH} windows already: close one", 5)
    token = request.cookies.get(cookie_name(console), "")
    return StreamingResponse(
        _events(request, console, token, tenants, caller.name),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    request: Request, console: Console, token: str, tenants: list[str], person: str
) -> AsyncIterator[str]:
    watching[person] += 1
    try:
        async with _streams:
            async for event in _new(request, console, token, tenants):
                yield event
    finally:
        watching[person] -= 1


async def _new(request: Request, console: Console, token: str, tenants: list[str]) -> AsyncIterator[str]:
    told: dict[str, Any] = {}
    second, turn = console.now_ms // 1000 - SETTLED_S, 0
    while not await request.is_disconnected():
        now = console.now_ms // 1000 - SETTLED_S
        for t in range(max(second + 1, now - 60), now + 1):
            yield _event("second", await run_in_threadpool(_second, console, t, tenants), str(t))
        second = now
        for name, value in (await run_in_threadpool(_news, console, tenants)).items():
            if told.get(name) != value:
                told[name] = value
                yield _event(name, value)
        turn += 1
        if turn % HEARTBEAT_EVERY == 0:
            yield ": here\n\n"
        if turn % SESSION_EVERY == 0 and not await run_in_threadpool(still_signed_in, console, token):
            yield _event("signed_out", {})
            return
        await asyncio.sleep(EVERY_S)


def _rollout(console: Console) -> dict[str, Any] | None:
    try:
        return console.outside.rollout()
    except RolloutsUnreachable:
        return None


def _second(console: Console, t: int, tenants: list[str]) -> dict[str, Any]:
    found = series(console.database.read(), t, t + 1, 1, tenants).columns()
    return {"t": t, **{name: column[0] for name, column in found.items() if name not in ("t", "step_s")}}


def _news(console: Console, tenants: list[str]) -> dict[str, Any]:
    status = console.outside.status()
    return {
        "queue": {"open": console.desk.open_count(Wanted(tenants=tenants)), "mark": console.desk.mark()}, "behind": console.behind(),
        "alerts": status["alerts"], "state": {"state": status["state"], "problems": status["problems"]},
    }  # fmt: skip


def _event(name: str, value: Any, event_id: str = "") -> str:
    numbered = f"id: {event_id}\n" if event_id else ""
    return f"event: {name}\n{numbered}data: {json.dumps(value)}\n\n"


def _labels(console: Console, tenants: Sequence[str], now_ms: int) -> dict[str, Any]:
    """Money of labelled payments: caught frauds, honest ones that were stopped, and frauds that were approved (``missed``)."""
    where, values = Wanted(tenants=tenants).where()
    since_ms = now_ms - LABEL_DAYS * DAY_S * 1000
    rows = (
        console.database.read()
        .execute(
            "SELECT d.label, d.decision, d.currency, sum(d.amount_minor) AS minor, count(*) AS payments FROM decision d "
            f"WHERE d.label IS NOT NULL AND d.label_ms >= ? AND d.currency IS NOT NULL AND {where} GROUP BY 1, 2, 3",
            (since_ms, *values),
        )
        .fetchall()
    )

    def sums(label: str, decisions: tuple[str, ...]) -> list[dict[str, Any]]:
        found: dict[str, list[int]] = {}
        for row in rows:
            if row["label"] == label and row["decision"] in decisions:
                sum_of = found.setdefault(row["currency"], [0, 0])
                sum_of[0] += row["minor"]
                sum_of[1] += row["payments"]
        return [
            {"currency": currency, "minor": minor, "payments": n} for currency, (minor, n) in found.items()
        ]

    return {
        "window_days": LABEL_DAYS, "caught": sums("fraud", ("review", "decline")), "honest_stopped": sums("legit", ("decline",)),
        "honest_reviewed": sums("legit", ("review",)), "missed": _missed(console, tenants, since_ms),
    }  # fmt: skip


def _missed(console: Console, tenants: Sequence[str], since_ms: int) -> list[dict[str, Any]]:
    named = f" AND tenant IN ({', '.join('?' * len(tenants))})" if tenants else ""
    rows = console.database.read().execute(
        f"SELECT currency, sum(amount_minor) AS minor, count(*) AS payments FROM missed_fraud WHERE label_ms >= ?{named} GROUP BY 1",
        (since_ms, *tenants),
    )
    return [dict(row) for row in rows]
