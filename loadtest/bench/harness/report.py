"""Text of a report around its table: how latency is measured, and where the time goes in rows that miss their target."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.bench.harness.profiling import HTTP_TITLE, STREAM_TITLE
from loadtest.bench.harness.table import NO, Row, measured

LATENCY = (
    "A decision's latency in the stream is the time between two Kafka timestamps: when the broker wrote the transaction to"
    " `transactions`, and when it wrote the decision to `decisions`. Only committed decisions count. CPU is that of all processes of the"
    " stack, or of the peer; sender and measurement are not included but use the same cores. `reached`: the target that the median"
    " reaches (for p99 in the stream: that four of five runs reach)."
)
#: of a profile's lines, those that take most
TOP = 6
_HEAD = "## Rows that miss their first target, and where their time goes"


def short_of_targets(rows: Sequence[Row]) -> str:
    """Each row that misses its first target, with where its time goes: from the row itself, or from the profile of the same run."""
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
