"""A worker that stands still: ``tollgate status`` says so, with the partition."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from streams.runtime.settings import Settings
from tests.attack.bystanders import send_to_all, undecided
from tests.attack.registry import Finding, attack
from tests.support.running import pid_of, run_cli, stand_still

#: ten seconds where the machine has nothing else to do
SAID_WITHIN_S = 40.0


@attack("a processor that stands still")
def status_tells_the_truth(settings: Settings) -> Finding:
    """Freeze the processor, send payments, and ask for the status: exit code 1, and the partitions by name."""
    pid = pid_of(settings, "processor-0")
    if pid is None:
        return Finding(False, "processor-0 does not run")
    stand_still(pid)
    try:
        send_to_all(settings)
        began = time.monotonic()
        said, took_s = False, 0.0
        while not said and took_s < SAID_WITHIN_S:
            done = run_cli(settings, "status")
            took_s = time.monotonic() - began
            said = "processor stands on transactions[" in done.stdout
    finally:
        # after half a minute its supervisor has ended it
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    after = undecided(settings)
    text = f"exit {done.returncode} after {took_s:.1f} s, the partition {'named' if said else 'not named'}; then undecided: {after}"
    return Finding(said and done.returncode == 1 and not after, text)
