"""Names of replicas: the lowest that is free; who comes before another has gone waits for its name."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.scoring.ray.replica_names import NoNameLeft, take_name

HOLDS = "import sys, pathlib; from services.scoring.ray.replica_names import take_name; held = take_name(pathlib.Path(sys.argv[1]), 'r', 1); print(held.name, flush=True); input()"


def test_each_gets_the_lowest_that_is_free_and_no_more_than_there_may_be(tmp_path: Path) -> None:
    first, second = take_name(tmp_path, "r", 2), take_name(tmp_path, "r", 2)
    assert (first.name, first.index, second.name) == ("r-0", 0, "r-1")
    with pytest.raises(NoNameLeft, match=r"all 2 names of r .* kill it"):
        take_name(tmp_path, "r", 2, within_s=0.0)
    assert (tmp_path / "r-1.pid").read_text().split() == [str(os.getpid())]


def test_the_name_of_one_that_is_killed_goes_to_the_one_that_waits_for_it(tmp_path: Path) -> None:
    """Serve starts another before the frozen one that it gave up is dead."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as payer:
        assert payer.stdout is not None
        assert payer.stdout.readline() == "r-0\n"
        got: list[str] = []
        waiting = threading.Thread(target=lambda: got.append(take_name(tmp_path, "r", 1, 60.0).name))
        waiting.start()
        assert got == []
        payer.kill()
        waiting.join(60.0)
    assert got == ["r-0"]
    assert (tmp_path / "r-0.pid").read_text().split() == [str(payer.pid), str(os.getpid())]
