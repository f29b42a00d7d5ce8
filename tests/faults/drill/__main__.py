"""``make drill``: every fault, one after the other, on a stack of its own; prints a table. ``--help`` lists the options."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from infra import stack
from streams.runtime.settings import load_settings
from tests.faults.drill.drills import DRILLS
from tests.faults.drill.running import SECONDS, Result, run, table
from tests.support.running import start_whole_stack


def main() -> int:
    """Exit code 0: every page came in time, the doctor named the fault, each command of the runbooks showed what its page says, and nothing
    was lost or doubled.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    known = {drill.fault: drill for drill in DRILLS}
    parser.add_argument(
        "--only", nargs="+", metavar="FAULT", choices=list(known), help="these, in this order"
    )
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of traffic beside each fault, at least")
    parser.add_argument("--port-base", type=int, help="of the stack (default: any that is free)")
    parser.add_argument(
        "--home", help="a stack that runs and serves a model, which goes on (default: one of its own)"
    )
    args = parser.parse_args()
    if args.home is not None:
        settings = load_settings(args.home)
    else:
        home = Path(tempfile.mkdtemp(prefix="tg-drill-"))
        settings = stack.settings_for(home, args.port_base or stack.free_port_base())
    results: list[Result] = []
    failed = []
    try:
        if args.home is None:
            settings = start_whole_stack(settings)
        for fault in args.only or known:
            print(f"{fault} ...", file=sys.stderr, flush=True)
            try:
                results.append(run(settings, known[fault], seconds=args.seconds))
            except (AssertionError, TimeoutError) as error:
                # the others are tried all the same
                failed.append(f"{fault}: {error}")
                print(failed[-1], file=sys.stderr, flush=True)
                continue
            print(table(results[-1:]).split("\n", 2)[2], file=sys.stderr, flush=True)
    finally:
        if args.home is None:
            stack.stop(settings, purge=True)
    print("\n".join([table(results), *failed]))
    return 0 if results and not failed and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
