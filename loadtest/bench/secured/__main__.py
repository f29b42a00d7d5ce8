"""What TLS, passwords and rights cost: the plain stack and the secured one (`tollgate up --secure`) in turn, on one home:

    python -m loadtest.bench.secured [--rates 1000 2000] [--seconds 20] [--pairs 3] [--port-base N]

Each run restarts the stack in the other form and sends traffic for a while before it measures. The log, the state and the model stay.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from loadtest.bench.harness.running_stack import READY_WITHIN_S, TOLLGATE, StackError, running_stack
from loadtest.bench.harness.table import Row, conditions, left_out, markdown
from loadtest.bench.secured.rows import PLAIN, SECURED, pair_rows
from loadtest.bench.stream import WARM_S, RunFailed, simulate

PORT_BASE = 26800
OPTION = {PLAIN: "--plain", SECURED: "--secure"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 2_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--port-base", type=int, default=PORT_BASE)
    args = parser.parse_args()
    print(markdown(measured(args.rates, args.seconds, args.pairs, args.port_base)))
    print(f"\n{conditions()}")


def measured(rates: Sequence[int], seconds: float, pairs: int, port_base: int) -> list[Row]:
    """The table's rows; if nothing could be measured, one row with the reason."""
    found: dict[int, dict[str, list[dict[str, Any]]]] = {rate: {PLAIN: [], SECURED: []} for rate in rates}
    folder = tempfile.mkdtemp(prefix="tollgate-secured-")
    try:
        with running_stack(None, port_base, folder=folder):
            for _ in range(pairs):
                for form in (PLAIN, SECURED):
                    _restart_as(folder, form)
                    for rate in rates:
                        simulate(folder, rate, WARM_S, 1)
                        found[rate][form].append(simulate(folder, rate, seconds, 1))
    except (StackError, RunFailed, subprocess.SubprocessError) as error:
        return [left_out("the secured stack beside the plain one", str(error))]
    return [row for rate in rates for row in pair_rows(rate, found[rate])]


def _restart_as(folder: str, form: str) -> None:
    for command in (["down"], ["up", OPTION[form], "--wait", str(READY_WITHIN_S)]):
        subprocess.run(
            [TOLLGATE, *command, "--home", folder], check=True, capture_output=True, timeout=READY_WITHIN_S + 60
        )  # fmt: skip


if __name__ == "__main__":
    main()
