"""``make attack``: every attack on a stack, and a table. ``python -m tests.attack --help`` lists the options."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from infra import stack
from streams.runtime.settings import Settings
from tests.attack.registry import Finding, attacks
from tests.support.running import settings_with_attributes, start_whole_stack


def main() -> int:
    """Exit code 0: every attack was held off; 1: one was not; 3: no stack runs in the given home."""
    args = _arguments()
    if args.home is None:
        return _on_its_own_stack(args.only, args.secure)
    settings = stack.existing(Path(args.home))
    if settings is None or not stack.is_running(settings):
        print(f"no stack runs in {args.home}: `tollgate up --home {args.home}` starts one", file=sys.stderr)
        return 3
    return _run(settings, args.only)


def _on_its_own_stack(names: list[str] | None, secure: bool) -> int:
    home = Path(tempfile.mkdtemp(prefix="tg-attack-"))
    settings = settings_with_attributes(home, stack.free_port_base(), secure=secure)
    try:
        return _run(start_whole_stack(settings), names)
    finally:
        stack.stop(settings, purge=True)


def _run(settings: Settings, names: list[str] | None) -> int:
    held_off = True
    for name, function in attacks().items():
        if names and name not in names:
            continue
        began = time.monotonic()
        try:
            finding = function(settings)
        except Exception as error:  # noqa: BLE001 - an attack that itself breaks down is a finding too; the others still run
            finding = Finding(False, f"{type(error).__name__}: {error}")
        held_off &= finding.held
        word = "held" if finding.held else "BROKEN"
        print(f"{name:40} {word:7} {time.monotonic() - began:6.1f} s  {finding.text}", flush=True)
    return 0 if held_off else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--home", help="attack the stack that runs there; default: a separate one, removed afterwards"
    )
    parser.add_argument("--secure", action="store_true", help="the separate stack is a secured one")
    parser.add_argument(
        "--only", nargs="+", choices=list(attacks()), metavar="NAME", help="these attacks only"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
