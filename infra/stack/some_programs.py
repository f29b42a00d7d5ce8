"""Starts only some programs of a stack, for a benchmark that has its own processor.

python -m infra.stack.some_programs up --home DIR [--port-base N] kafka redis    starts them and prints their pids as JSON
python -m infra.stack.some_programs down --home DIR                              stops them and deletes the folder
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from infra import stack
from streams.runtime.settings import load_settings

WAIT_S = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("programs", nargs="*")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--port-base", type=int, default=0, help="default: a free block of ports")
    args = parser.parse_args()
    try:
        if args.what == "down":
            stack.stop(load_settings(args.home), purge=True)
            return 0
        settings = stack.settings_for(args.home.resolve(), args.port_base or stack.free_port_base())
        settings = stack.start(settings, only=args.programs, wait_s=WAIT_S)
    except stack.StackError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    pids = {row["name"]: row["pid"] for row in stack.processes(settings) if row["pid"]}
    print(json.dumps({"embedded": settings.embedded, "pids": pids}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
