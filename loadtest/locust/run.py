"""One headless run against a running stack: users in a shape, a table, an HTML report, and an exit code by the SLA."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.html import get_html_report
from locust.stats import get_error_report_summary, get_stats_summary, stats_history

from loadtest.locust.decisions import Decisions
from loadtest.locust.payments import attacks, payments, run_prefix
from loadtest.locust.shapes import DEFAULT_SECONDS, SECONDS, SHAPES, Shape
from loadtest.locust.sla import Sla, Totals, breaches
from loadtest.locust.users import USERS, WAIT_S, Load
from streams.contracts.deadline import DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS, MIN_DEADLINE_MS
from streams.runtime.kafka.clients import new_producer
from streams.runtime.settings import Settings, load_settings

#: what the SLA is about; batches and look-ups have their own lines in the table
JUDGED = {"http": ("score", "HTTP"), "kafka": ("decided", "Kafka")}


def main() -> None:
    """Exit codes: 0 the SLA was kept, 1 it was not, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.locust", description=__doc__)
    parser.add_argument("--home", help="folder of the running stack (default .tollgate)")
    parser.add_argument("--target", choices=sorted(USERS), default="http")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="steady")
    parser.add_argument("--users", type=int, default=20, help="at the height of the shape")
    parser.add_argument("--rate", type=float, default=10.0, help="calls a second and user")
    parser.add_argument(
        "--seconds", type=float, help=f"default {DEFAULT_SECONDS:g}, soak {SECONDS['soak']:g}"
    )
    parser.add_argument(
        "--deadline-ms", type=int, default=DEFAULT_DEADLINE_MS, help="X-Deadline-Ms of a single call"
    )
    parser.add_argument("--p99-ms", type=float, default=Sla.p99_ms)
    parser.add_argument("--error-share", type=float, default=Sla.error_share)
    parser.add_argument("--missing", type=int, default=Sla.missing)
    parser.add_argument("--report", type=Path, help="folder for the HTML report")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    args = parser.parse_args()
    if args.users < 1 or args.rate <= 0 or not MIN_DEADLINE_MS <= args.deadline_ms <= MAX_DEADLINE_MS:
        parser.error(
            f"users at least 1, rate above 0, deadline from {MIN_DEADLINE_MS} to {MAX_DEADLINE_MS} ms"
        )
    args.seconds = args.seconds or SECONDS.get(args.shape, DEFAULT_SECONDS)
    sys.exit(_run(args, load_settings(args.home)))


def _run(args: argparse.Namespace, settings: Settings) -> int:
    prefix = run_prefix()
    honest, attackers = USERS[args.target]
    shape = Shape(args.shape, args.users, args.seconds, honest, attackers)
    environment: Any = Environment(user_classes=[honest, attackers], shape_class=shape)
    producer = new_producer(settings.kafka, "tollgate-locust", **{"linger.ms": 1})
    decisions = Decisions(settings.kafka, settings.partitions, prefix)
    environment.load = Load(
        http=settings.http,
        honest=payments(prefix, args.seed, attack=False),
        attacks=payments(prefix, args.seed, attack=True),
        decisions=decisions,
        producer=producer,
        rate=args.rate,
        deadline_ms=args.deadline_ms,
    )
    runner = environment.create_local_runner()
    history = gevent.spawn(stats_history, runner)
    try:
        runner.start_shape()
        # the shape ends the run; a hub that stands still for longer than this is an error of its own
        runner.shape_greenlet.join(timeout=args.seconds + 2 * WAIT_S)
        runner.stop()
        missing = decisions.missing(environment.load.accepted, WAIT_S)
    finally:
        history.kill()
        decisions.close()
        producer.close()
    totals = _totals(environment, args.target, missing)
    sla = Sla(args.p99_ms, args.error_share, args.missing)
    broken = breaches(sla, totals)
    _say(args, environment, totals, attacks(prefix, environment.load.accepted), broken)
    runner.quit()
    return 1 if broken else 0


def _totals(environment: Any, target: str, missing: int) -> Totals:
    entry = environment.stats.get(*JUDGED[target])
    return Totals(
        requests=entry.num_requests,
        failures=entry.num_failures,
        missing=missing,
        p50_ms=float(entry.get_response_time_percentile(0.5) or 0),
        p99_ms=float(entry.get_response_time_percentile(0.99) or 0),
    )


def _say(
    args: argparse.Namespace, environment: Any, totals: Totals, attacked: int, broken: list[str]
) -> None:
    report = _write_report(args, environment) if args.report else None
    if args.json:
        told = {
            **asdict(totals),
            "attacks": attacked,
            "broken": broken,
            "report": str(report) if report else None,
        }
        print(json.dumps(told))
        return
    print("\n".join(get_stats_summary(environment.stats, False)))
    if environment.stats.errors:
        print("\n".join(get_error_report_summary(environment.stats)))
    print(f"{args.target}, {args.shape}, {args.users} users: p50 {totals.p50_ms:.0f} ms, p99 {totals.p99_ms:.0f} ms, "
          f"{totals.requests:,} calls, {totals.failures:,} failed, {totals.missing:,} missing; {attacked:,} payments by attackers")  # fmt: skip
    print("SLA kept" if not broken else "SLA broken: " + "; ".join(broken))
    if report:
        print(f"report: {report}")


def _write_report(args: argparse.Namespace, environment: Any) -> Path:
    args.report.mkdir(parents=True, exist_ok=True)
    path: Path = args.report / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{args.target}-{args.shape}.html"
    path.write_text(get_html_report(environment))
    return path
