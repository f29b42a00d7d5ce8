"""``make faults``: rounds of every fault on a whole stack, and a table. ``python -m tests.faults --help`` lists the options."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from infra import stack
from streams.audit.parity.sample import check_parity
from streams.runtime.settings import Settings
from tests.faults.faults import FAULTS
from tests.faults.rounds import Bench, Result, table
from tests.support.running import run_cli, start_whole_stack


def main() -> int:
    """Exit code 0: nothing missing, duplicated or different, and the accounts balance; 1 otherwise."""
    args = _arguments()
    home = Path(tempfile.mkdtemp(prefix="tg-faults-"))
    settings = stack.settings_for(home, args.port_base or stack.free_port_base(), secure=args.secure)
    settings = msgspec.structs.replace(settings, processors=2, stream_replicas=2)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {text}", file=sys.stderr, flush=True)

    say(f"a whole stack in {home}, seeds from {args.seed} on")
    passed = False
    try:
        settings = start_whole_stack(settings)
        bench = Bench(settings, scoring=True, freeze_s=args.freeze, say=say)
        results, good = [], True
        for name in args.only or FAULTS:
            results.append(bench.run(FAULTS[name], args.rounds, args.seed))
            good &= _proven(settings, results[-1], say)
        bench.close()
        print(table(results))
        passed = good and all(result.clean for result in results)
        for result in results:
            if result.bad_seeds:
                print(f"{result.fault}: not clean with seeds {result.bad_seeds}; one alone: ", end="")
                print(
                    f'make faults ROUNDS=1 SEED={result.bad_seeds[0]}{" SECURE=1" * args.secure} FAULT="{result.fault}"'
                )
    finally:
        if passed or not args.keep:
            stack.stop(settings, purge=True)
    return 0 if passed else 1


def _proven(settings: Settings, result: Result, say: Callable[[str], None]) -> bool:
    """Accounts and parity of the whole log, from the commands `reconcile` and `parity`."""
    books = run_cli(settings, "reconcile", "--wait", "120", "--json", timeout_s=900)
    verdict = check_parity(settings, 300, seed=1, say=lambda _text: None)
    say(
        f"{result.fault}: reconcile {_last(books.stdout)}; parity {verdict.identical} of {verdict.compared} identical"
    )
    return books.returncode == 0 and verdict.unexplained == 0


def _last(text: str) -> str:
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return text[-300:]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of each fault")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first round of each fault; the next ones count up"
    )
    parser.add_argument("--freeze", type=float, default=60.0, metavar="S", help="how long a victim is frozen")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), help="these faults only")
    parser.add_argument("--port-base", type=int, help="first port of the stack; default: a free block")
    parser.add_argument("--secure", action="store_true", help="on a secured stack")
    parser.add_argument("--keep", action="store_true", help="leave the stack running when something is wrong")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
