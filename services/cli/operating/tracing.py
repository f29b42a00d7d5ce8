"""``tollgate trace``: where the time of one transaction went."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from services.cli.terminal.exits import CheckFailed
from services.cli.terminal.options import home_option, json_option, transaction_argument
from services.cli.terminal.words import visible
from streams.audit.trace_of import Trace, otlp, trace_of
from streams.runtime.settings import load_settings

_WIDTH = 40


@click.command()
@transaction_argument
@click.option("--otlp", "as_otlp", is_flag=True, help="Print OTLP JSON, as OpenTelemetry backends take it.")
@home_option
@json_option
def trace(transaction_id: str, tenant: str, home: Path, as_json: bool, as_otlp: bool) -> None:
    """Show the way of one transaction in time, from the broker's time of each record. Exit code 1: the log does not hold it."""
    from streams.audit.decided_payment import find_decision  # Arrow is slow to import

    settings = load_settings(home)
    found = find_decision(settings, tenant, transaction_id, time.time())
    if found is None:
        raise CheckFailed(
            f"no decision of {transaction_id} (tenant {tenant}); was it refused? `tollgate dead-letters list`"
        )
    traced = trace_of(settings, found)
    if traced is None:
        raise CheckFailed(
            f"the log does not hold {transaction_id} any more; `tollgate decisions show` finds what the archive keeps"
        )
    if as_otlp:
        click.echo(json.dumps(otlp(traced, found.decision)))
    elif as_json:
        click.echo(json.dumps(as_builtins(traced, found.decision)))
    else:
        click.echo("\n".join(map(visible, waterfall(traced, found.decision))))


def as_builtins(traced: Trace, decision: dict[str, Any]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "transaction_id": decision["transaction_id"], "tenant": decision["tenant"], "trace_id": traced.trace_id,
        "edge": traced.edge, "decision": decision["decision"], "status": decision["status"], "total_ms": round(traced.total_ms, 3),
        "spans": [
            {"name": span.name, "process": span.process, "start": _rfc3339(span.start_ms), "end": _rfc3339(span.end_ms),
             "ms": round(span.end_ms - span.start_ms, 3), "waited_for": span.waited_for}
            for span in traced.spans
        ],
    }  # fmt: skip


def waterfall(traced: Trace, decision: dict[str, Any]) -> list[str]:
    """The trace as text, one line a span, each bar at its place in time."""
    first = min(span.start_ms for span in traced.spans)
    whole = max(max(span.end_ms for span in traced.spans) - first, 0.001)
    out = [
        f"{decision['transaction_id']}: {decision['decision']}, {decision['status']}, {traced.total_ms:.1f} ms over {traced.edge} (trace {traced.trace_id})"
    ]
    for span in traced.spans:
        begin = round((span.start_ms - first) / whole * _WIDTH)
        length = max(1, round((span.end_ms - span.start_ms) / whole * _WIDTH))
        begin = min(begin, _WIDTH - 1)
        bar = " " * begin + ("█" if span.waited_for else "░") * min(length, _WIDTH - begin)
        out.append(
            f"  {bar:<{_WIDTH}}  +{span.start_ms - first:8.1f} ms {span.end_ms - span.start_ms:8.1f} ms  {span.process}: {span.name}"
        )
    if not all(span.waited_for for span in traced.spans):
        out.append("  ░ after the answer: nobody waited for it")
    return out


def _rfc3339(ms: float) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
