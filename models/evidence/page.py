"""An evidence pack as one page that needs nothing from elsewhere: no script, no style sheet, no picture outside of it.

Every text is escaped: names of groups come from transactions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from features.currencies import amount_text
from models.evidence.plots import Side, groups, precision_recall, reliability, shares
from models.evidence.record import EvidencePack
from models.evidence.style import STYLE
from models.training.gates.check import GateCheck
from models.training.gates.judge import Judgement
from models.training.gates.limits import LIMITS

_WORDS = {"pass": "passed", "fail": "failed", "inconclusive": "to be judged", "too_few": "too few rows"}
_MARKS = {"pass": "✓", "fail": "✕", "inconclusive": "?", "too_few": "–"}
#: what the gates are about: (first part of their names, heading)
_PARTS = (
    ("Quality", ("average_precision", "money_caught", "false_alarms", "calibration", "ranking_of_record")),
    ("Fairness", ("fairness",)),
    ("Operation", ("policy", "latency", "size", "stability")),
    ("Data", ("leak_feature", "leak_repeated")),
)


def render(pack: EvidencePack, digest: str) -> str:
    """The page; ``digest``: the pack's hash, which an approval names."""
    parts = [_head(pack, digest)]
    if pack.judgement is not None:
        parts += [_plots(pack, pack.judgement), _gates(pack.judgement), _fairness(pack.judgement)]
        if pack.judgement.comparison:
            parts.append(_decisions(pack.judgement.comparison, "on the rows that the gates saw"))
    else:
        parts.append(_policy_only(pack))
    parts += [_policy(pack), _lineage(pack)]
    title = f"Evidence of {pack.model} {pack.version}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(pack: EvidencePack, digest: str) -> str:
    found = pack.judgement
    if found is None:
        verdict, said = "pass", "changes the policy only: its model is the live one"
    elif found.live is None:
        verdict, said = found.verdict, "no model was live to hold it against"
    else:
        verdict = found.verdict
        said = f"held against {found.live} on {found.rows:,} payments with {found.frauds:,} frauds that neither has seen"
    word = "passed its gates" if verdict == "pass" else "failed its gates"
    reasons = "" if found is None else "".join(f"<li>{escape(reason)}</li>" for reason in found.reasons)
    return (
        f'<header><p class="over">Evidence of a model</p><h1>{escape(pack.model)} {escape(pack.version)}</h1>'
        f'<p class="verdict {verdict}"><span>{_MARKS[verdict]}</span> {word}</p><p class="said">{escape(said)}.</p>'
        f"{f'<ul class=reasons>{reasons}</ul>' if reasons else ''}"
        f"{_facts([('Made', _time(pack.created_at)), ('Expires', _time(pack.expires_at)), ('Hash', digest)])}</header>"
    )


def _plots(pack: EvidencePack, found: Judgement) -> str:
    if not found.curves:
        return ""
    sides = [
        (Side("new", f"{pack.version} (new)"), found.curves["candidate"]),
        (Side("old", f"{found.live} (live)"), found.curves["live"]),
    ]
    legend = "".join(f'<span><i class="{side.css}"></i>{escape(side.name)}</span>' for side, _ in sides)
    figures = [
        ("Precision against recall", precision_recall(sides)),
        ("Calibration: frauds observed by score", reliability(sides)),
    ]
    money = _money([side for side, _ in sides], found.comparison)
    if money:
        figures.append(("Fraud money stopped, by currency", money))
    return (
        f'<section><h2>Both models on the same payments</h2><p class="legend">{legend}</p><div class="plots">'
        + "".join(f"<figure><figcaption>{escape(name)}</figcaption>{plot}</figure>" for name, plot in figures)
        + "</div></section>"
    )


def _money(sides: Sequence[Side], comparison: dict[str, Any]) -> str:
    rows = []
    after, before = comparison.get("after", {}), comparison.get("before", {})
    for currency in sorted({*after.get("caught_minor", {}), *after.get("missed_minor", {})}):
        bars = []
        for side, sums in zip(sides, (after, before), strict=True):
            caught, missed = (sums[name].get(currency, 0) for name in ("caught_minor", "missed_minor"))
            if caught + missed:
                share = caught / (caught + missed)
                bars.append((side, share, f"{share:.1%}"))
        if bars:
            rows.append((currency, bars))
    return shares(rows) if rows else ""


def _gates(found: Judgement) -> str:
    rows = []
    for name, firsts in _PARTS:
        some = [check for check in found.checks if check.name.split(".")[0] in firsts]
        if some:
            rows.append(f'<tr class="part"><th colspan="5" scope="colgroup">{name}</th></tr>')
            rows += [_gate(check) for check in some]
    return (
        '<section><h2>Gates</h2><div class="wide"><table><thead><tr><th>Gate</th><th>Result</th><th class="n">Estimate</th>'
        f'<th class="n">Limit</th><th>What was found</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        '<p class="note">Estimates have 95 % intervals by resampling cards. A loss counts against the new model only where its interval'
        " proves it; "
        "“to be judged” is for you: losses that are not proven, and what the live model does too.</p></section>"
    )


def _gate(check: GateCheck) -> str:
    result = "fail" if check.stops else check.result
    estimate = _number(check.estimate)
    if check.low is not None and check.high is not None:
        estimate += f"<small>{_number(check.low)} to {_number(check.high)}</small>"
    return (
        f'<tr><td class="gate">{escape(check.name.replace("_", " ").replace(".", " · "))}</td><td class="{result}"><b>{_MARKS[result]} '
        f'{_WORDS[result]}</b></td><td class="n">{estimate}</td><td class="n">{_number(check.limit)}</td><td>{escape(check.why)}</td></tr>'
    )


def _fairness(found: Judgement) -> str:
    if not found.groups:
        return ""
    figures = []
    for rate, name in (
        ("false_alarms", "False alarms of a group, relative to all others"), ("recall", "Frauds found in a group, relative to all others"),
    ):  # fmt: skip
        some = [group for group in found.groups if group.rate == rate]
        if some:
            plot = groups(some, (LIMITS.four_fifths, 1 / LIMITS.four_fifths))
            figures.append(f'<figure class="whole"><figcaption>{name}</figcaption>{plot}</figure>')
    hidden = f" {found.hidden_groups} rates of small groups are not shown." if found.hidden_groups else ""
    return (
        f'<section><h2>Groups of customers</h2>{"".join(figures)}<p class="note">Circles: the new model with intervals widened for the number'
        f" of groups; squares: the live one. Dashed: four fifths and its inverse.{hidden}</p></section>"
    )


def _decisions(found: dict[str, Any], where: str) -> str:
    sides = found.get("before", {}), found.get("after", {})
    rows = [
        [escape(name), *(f"{side.get('decisions', {}).get(name, 0):,}" for side in sides)]
        for name in ("approve", "review", "decline")
    ]
    rows += [
        [text, *(f"{side.get(key, 0):,}" for side in sides)]
        for key, text in (("frauds_caught", "frauds stopped"), ("frauds_missed", "frauds missed"), ("false_alarms", "honest payments stopped"))
    ]  # fmt: skip
    for key, text in (
        ("caught_minor", "fraud stopped"), ("missed_minor", "fraud missed"), ("false_alarms_minor", "honest money stopped"),
    ):  # fmt: skip
        for currency in sorted({name for side in sides for name in side.get(key, {})}):
            sums = (amount_text(side.get(key, {}).get(currency, 0), currency) for side in sides)
            rows.append([f"{text}, {escape(currency)}", *sums])
    changed = ", ".join(f"{number:,} {escape(kind)}" for kind, number in found.get("changed", {}).items())
    return (
        f'<section><h2>Decisions {escape(where)}</h2><div class="wide">{_table(["", "live", "new"], rows)}</div>'
        f"<p>Changed: {changed or 'none'}.</p></section>"
    )


def _policy_only(pack: EvidencePack) -> str:
    tested = (
        _decisions(pack.tested, "of the past")
        if pack.tested
        else "<section><p>Nothing is archived yet to try it on.</p></section>"
    )
    changes = "".join(f"<li>{escape(change)}</li>" for change in pack.changes)
    left_out = f"<section><h2>Not in the new policy</h2><ul>{changes}</ul></section>" if changes else ""
    return left_out + tested


def _policy(pack: EvidencePack) -> str:
    policy = pack.policy
    facts = [
        ("Version", policy.get("version")), ("Review from", policy.get("review")), ("Decline from", policy.get("decline")),
        ("Rules", ", ".join(policy.get("rules", [])) or "none"), ("Lists", ", ".join(policy.get("lists", [])) or "none"),
    ]  # fmt: skip
    chosen = "".join(f"<li>{escape(line)}</li>" for line in policy.get("chosen", []))
    how = f"<h3>How training chose its thresholds</h3><ul>{chosen}</ul>" if chosen else ""
    return f"<section><h2>Policy that goes live with it</h2>{_facts(facts)}{how}</section>"


def _lineage(pack: EvidencePack) -> str:
    lineage = pack.lineage
    data = lineage.get("data", {}) if isinstance(lineage.get("data"), dict) else {}
    request = lineage.get("request", {}) if isinstance(lineage.get("request"), dict) else {}
    coverage = data.get("label_coverage")
    facts = [
        ("Bundle", pack.bundle), ("Catalogue of features", pack.catalogue), ("Software", pack.software),
        ("Code", lineage.get("code_version")), ("Trained", lineage.get("created_at")),
        ("Proposed by", lineage.get("proposed_by") or request.get("requested_by")), ("Asked for", request.get("reason")),
        ("Rows", _count(data.get("rows"))), ("Frauds", _count(data.get("frauds"))), ("Simulated rows", _count(data.get("simulated_rows"))),
        ("Calibration", _calibration(pack.evaluation.get("calibration"))), ("Labels stated", None if coverage is None else f"{coverage:.1%} of the matured rows"), ("Data", data.get("fingerprint")),
        *((f"{name} until", _time(datetime.fromtimestamp(part["to_ms"] / 1000, UTC))) for name, part in _spans(lineage)),
    ]  # fmt: skip
    return f"<section><h2>Where it comes from</h2>{_facts(facts)}</section>"


def _calibration(found: Any) -> str | None:
    """Its kind, and the log loss of each kind on rows that it was not fitted to."""
    if not isinstance(found, dict):
        return None
    losses = ", ".join(f"{kind} {loss:.5f}" for kind, loss in found["log_loss"].items())
    return f"{found['kind']}; log loss: {losses}"


def _spans(lineage: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    parts = lineage.get("parts")
    if isinstance(parts, dict):
        for name, words in (("train", "Trained on rows"), ("calibrate", "Calibrated on rows")):
            if isinstance(parts.get(name), dict) and "to_ms" in parts[name]:
                yield words, parts[name]


def _facts(facts: Iterable[tuple[str, Any]]) -> str:
    said = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts if value not in (None, "")
    )  # fmt: skip
    return f"<dl>{said}</dl>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML; all but the first of a row are numbers."""
    head = "".join(f"<th{' class=n' if place else ''}>{name}</th>" for place, name in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f'<td{" class=n" if place else ""}>{cell}</td>' for place, cell in enumerate(row)) + "</tr>" for row in rows
    )  # fmt: skip
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
