"""What a report says in words beside its table: how latency was taken, and where the time goes in what falls short."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.bench.harness.profiling import HTTP_TITLE, STREAM_TITLE
from loadtest.bench.harness.table import NO, Row, measured

LATENCY = (
    "A decision's latency in the stream is the time between two stamps of the broker: when it wrote the transaction to `transactions`,"
    " and when it wrote the decision to `decisions`; only committed decisions count. CPU is that of all processes of the stack; who"
    " sends and who measures is not in it, of ours and of the peers alike, but takes its share of the same cores. `reached`: the"
    " target that the median reaches (of p99 in the stream: four runs of five)."
)
#: of a profile's lines, those that take most
TOP = 6
_HEAD = "## Lines that fall short of their first target, and where their time goes"


def short_of_targets(rows: Sequence[Row]) -> str:
    """Each line that misses its first target, with what takes its time: as it said itself, or by the profile of the same run."""
    short = [row for row in rows if row.reached == NO]
    if not short:
        return f"{_HEAD}\n\nNone."
    lines = [
        f"- **{row.what}**: {measured(row)}, wanted {row.at_least}. {row.where or _profiled(row, rows)}"
        for row in short
    ]
    return "\n".join(
        [_HEAD, "", *lines, "", "What was tried: `infra/decisions/`, pages 0010, 0014 and 0015."]
    )


def _profiled(row: Row, rows: Sequence[Row]) -> str:
    title = HTTP_TITLE if row.what.startswith("HTTP") else STREAM_TITLE
    found = [line for line in rows if line.what.startswith(title) and line.unit == "us a transaction"]
    if not found:
        return "No profile was taken in this run (section `profile`)."
    most = sorted(found, key=lambda line: -line.middle)[:TOP]
    told = [f"{line.what.rpartition(': ')[2]} {line.middle:.0f} ({line.note})" for line in most]
    return f"{title.strip()}, us a transaction: " + "; ".join(told)
