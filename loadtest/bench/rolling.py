"""A rolling restart of every process beside traffic: is anything lost, and does anybody wait?

    python -m loadtest.bench.rolling [--rate 1000] [--servers] [--port-base N]

The stack has two processors and two replicas, as who restarts by day has. `tollgate restart --rolling` runs beside steady traffic, which goes on
until it is done. With `--servers` also Kafka, Redis and Ray, of which there is one each here: nothing is decided while one of them starts.
Exit code 1: transactions were lost or doubled.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from loadtest.bench.harness.running_stack import TOLLGATE, StackError, running_stack
from loadtest.bench.harness.table import Row, left_out, shown
from loadtest.bench.stream import WARM_S, RunFailed, Runs, figure_rows, simulate
from streams.runtime.settings import Settings

RATE, SEED = 1_000, 73
PORT_BASE = 26700
#: the traffic ends when the restart is done, or by itself
TRAFFIC_S, RESTART_WITHIN_S, BEFORE_S, AFTER_S = 1800, 1500.0, 5.0, 10.0
REPORT_WITHIN_S = 300.0


def rolling_rows(rate: int, servers: bool, port_base: int) -> Iterator[Row]:
    """The table's rows; if nothing could be measured, one row with the reason."""
    what = "every process" if servers else "every process but Kafka, Redis and Ray"
    name = f"rolling restart of {what}, 2 processors, 2 replicas, at {rate:,}/s"
    with tempfile.TemporaryDirectory(prefix="tollgate-rolling-") as folder:
        chosen = msgspec.structs.replace(
            Settings(home=str(Path(folder) / "s")), processors=2, stream_replicas=2
        )
        chosen.save()
        try:
            with running_stack(None, port_base, folder=chosen.home):
                simulate(chosen.home, rate, WARM_S, SEED)
                summary, took_s, restarted = restarted_under(chosen.home, rate, servers)
        except (StackError, RunFailed, subprocess.SubprocessError) as error:
            yield left_out(name, str(error), "200")
            return
    yield from figure_rows(Runs(rate, [summary]), name, {"p99": ("200", "")})
    yield Row(f"{name}: until all are back", [took_s], "s", note=f"{summary['produced']:,} sent; {restarted}")


def restarted_under(home: str, rate: int, servers: bool) -> tuple[dict[str, Any], float, str]:
    """The traffic's summary, how long the restart took, and what it said.

    Raises:
        RunFailed: a process did not come back, or the traffic printed no summary.
    """
    traffic = subprocess.Popen(
        [TOLLGATE, "simulate", "--home", home, "--rate", str(rate), "--seconds", str(TRAFFIC_S), "--seed", str(SEED + 1), "--wait", "240", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        time.sleep(BEFORE_S)
        began = time.monotonic()
        done = subprocess.run(
            [TOLLGATE, "restart", "--rolling", *(["--servers"] if servers else []), "--home", home],
            capture_output=True, text=True, timeout=RESTART_WITHIN_S, check=False,
        )  # fmt: skip
        took_s = time.monotonic() - began
        if done.returncode != 0:
            raise RunFailed(f"the restart ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        time.sleep(AFTER_S)
        traffic.send_signal(signal.SIGINT)
        out, err = traffic.communicate(timeout=REPORT_WITHIN_S)
        summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (json.JSONDecodeError, IndexError):
        raise RunFailed(f"the traffic printed no summary: {err.strip()[-300:]}") from None
    finally:
        traffic.kill()
        traffic.wait(30)
    return summary, took_s, done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--servers", action="store_true", help="also Kafka, Redis and Ray")
    parser.add_argument("--port-base", type=int, default=PORT_BASE)
    args = parser.parse_args()
    found = shown(rolling_rows(args.rate, args.servers, args.port_base))
    return 0 if any(row.what.endswith("doubled") and row.runs and not row.middle for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
