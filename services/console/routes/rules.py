"""Rules and lists of the live policy with their hits; check a text, test it on the past, propose it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from features.catalogue import FEATURES
from models.policy.rules.columns import NUMBER_FIELDS, TEXT_FIELDS
from services.console.kept.trimming import DAY_S
from services.console.people.caller import ALL_TENANTS, Caller, Here, Proposer, Reader
from services.console.routes.asking import Why
from services.console.wiring import Console

router = APIRouter(prefix="/api/v1/rules", tags=["rules"])
MAX_TEXT = 1_000_000
#: of the rules language (models/RULES.md)
FUNCTIONS = ("abs", "coalesce")
HITS = ("day", "week", "approved", "fraud", "legit", "open")


class PolicyText(BaseModel):
    """A policy file in TOML (models/RULES.md)."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)


class TestedText(PolicyText):
    """A policy file, and how far back it is tested."""

    since: str = Field(default="7d", pattern=r"^[1-9]\d{0,4}[dhm]$")


class ProposedText(PolicyText):
    """A policy file, and why it is proposed."""

    why: Why


@router.get("")
def rules(caller: Reader, console: Here) -> dict[str, Any]:
    """As ``tollgate rules list --json``, with hits; labels are those of payments that were not approved."""
    answer = console.outside.rules(console.door.now())
    hits = _hits(console, caller)
    for each in (*answer["rules"], *answer["lists"]):
        each["hits"] = hits.get(each["name"]) or dict.fromkeys(HITS, 0)
    return answer


@router.get("/text")
def text(_: Reader, console: Here) -> dict[str, Any]:
    """The live policy as a file to edit."""
    found, version = console.outside.rules_text()
    return {"text": found, "policy_version": version}


@router.get("/vocabulary")
def vocabulary(_: Reader) -> dict[str, list[str]]:
    """Names that a condition may use."""
    return {
        "fields": sorted({"score", *NUMBER_FIELDS, *TEXT_FIELDS}),
        "features": [each.name for each in FEATURES],
        "functions": list(FUNCTIONS),
    }


@router.post("/check")
def check(body: PolicyText, _: Proposer, console: Here) -> dict[str, Any]:
    """All errors of a policy file; not an error of the request."""
    return console.outside.check_rules(body.text)


@router.post("/test", dependencies=ALL_TENANTS)
def test(body: TestedText, _: Proposer, console: Here) -> Any:
    """What a policy file would have changed in the past; takes seconds."""
    return console.outside.test_rules(body.text, body.since)


@router.post("/propose")
def propose(body: ProposedText, caller: Proposer, console: Here) -> Any:
    """Publish the live model with this policy; another person approves it."""
    return console.outside.propose_rules(body.text, caller.name, body.why)


def _hits(console: Console, caller: Caller) -> dict[str, dict[str, int]]:
    """By rule or list: matches of a day and of a week, how many of these were approved, and the labels of the others."""
    now_ms, tenants = console.now_ms, caller.tenants
    day_ms, week_ms = now_ms - DAY_S * 1000, now_ms - 7 * DAY_S * 1000
    named = f" AND tenant IN ({', '.join('?' * len(tenants))})" if tenants else ""
    connection = console.database.read()
    out: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(HITS, 0))
    for row in connection.execute(
        "SELECT h.rule AS name, sum(h.decided_ms >= ?) AS day, count(*) AS week, sum(d.label IS 'fraud') AS fraud, "
        "sum(d.label IS 'legit') AS legit, sum(d.label IS NULL) AS open FROM rule_hit h JOIN decision d ON d.id = h.decision_id "
        f"WHERE h.decided_ms >= ?{named} GROUP BY h.rule",
        (day_ms, week_ms, *tenants),
    ):
        out[row["name"]] |= {name: row[name] for name in HITS if name != "approved"}
    for rule, day, week in connection.execute(
        f"SELECT rule, total((hour_ms >= ?) * payments), total(payments) FROM rule_passed WHERE hour_ms >= ?{named} GROUP BY rule",
        (day_ms, week_ms, *tenants),
    ):
        found = out[rule]
        found["day"] += int(day)
        found["week"] += int(week)
        found["approved"] = int(week)
    return out
