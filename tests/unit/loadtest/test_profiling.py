"""What a profile says of stacks as they were sampled, and which processes it looks into."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.harness import profiling
from loadtest.bench.harness.profiling import Part, own_time, parts_of
from loadtest.bench.http_load.measuring import OfferError
from loadtest.bench.http_load.offer import Offer, Outcome
from streams.runtime.settings import Settings
from tests.support.waiting import until


def test_own_time_is_that_of_the_last_function_whatever_its_line() -> None:
    lines = [
        "main (a/b/main.py:1);handle (a/streams/processor/cards.py:10);slots (a/features/store/profile_cache.py:121) 6",
        "main (a/b/main.py:1);handle (a/streams/processor/cards.py:12);slots (a/features/store/profile_cache.py:130) 2",
        "main (a/b/main.py:1);handle (a/streams/processor/cards.py:14) 2",
        "",
        "no count",
    ]
    assert own_time(lines) == "slots (store/profile_cache.py) 80%, handle (processor/cards.py) 20%"
    assert own_time(lines, top=1) == "slots (store/profile_cache.py) 80%"
    assert own_time([]) == ""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A shell with two children, one of them Python; all end with their input."""
    script = tmp_path / "monitor.py"
    script.write_text("import sys; sys.stdin.read()")
    command = f"{sys.executable} {script} <&0 & cat <&0 & wait"
    parent = subprocess.Popen(["bash", "-c", command], stdin=subprocess.PIPE)
    try:
        until(lambda: len(_children(parent.pid)) == 2, 10, "the shell's children")
        yield parent
    finally:
        parent.communicate(timeout=30)


def _children(pid: int) -> list[str]:
    return sorted(name for name, _ in profiling._started_by(pid, set()) if name != "bash")


def row(name: str, pid: int | None) -> dict[str, Any]:
    """As ``tollgate status`` has it."""
    return {"name": name, "pid": pid, "cpu_s": 0.0}


def test_what_a_process_started_is_called_by_its_own_name(family: subprocess.Popen[bytes]) -> None:
    parts = parts_of([row("scoring", family.pid), row("trainer-0", None)])
    assert parts[0] == Part("scoring", family.pid)
    names = {part.name: part for part in parts[1:]}
    assert set(names) == {"scoring: cat", "scoring: monitor.py"}
    # only Python's functions can be told
    assert (
        names["scoring: monitor.py"].is_python
        and not names["scoring: cat"].is_python
        and not parts[0].is_python
    )


def test_a_child_that_is_listed_itself_is_not_told_twice(family: subprocess.Popen[bytes]) -> None:
    by_name = dict(profiling._started_by(family.pid, set()))
    listed = [row("scoring", family.pid), row("scoring-http-0", by_name["cat"])]
    assert [part.name for part in parts_of(listed) if part.pid == by_name["cat"]] == ["scoring-http-0"]


class Looks:
    """A stack's look at itself, without a stack: CPU grows by what is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cpu_s: dict[str, float]) -> None:
        self.sampled: list[str] = []
        self.offers: list[Offer] = []
        self._cpu_s, self._looks = cpu_s, 0
        self.parts = [Part(name, number) for number, name in enumerate(cpu_s)]
        monkeypatch.setattr(profiling, "processes", lambda _: [])
        monkeypatch.setattr(profiling, "parts_of", lambda _: self.parts)
        monkeypatch.setattr(profiling, "cpu_of", self.cpu)
        monkeypatch.setattr(profiling, "threads_of", lambda _: {})
        monkeypatch.setattr(profiling, "redis_commands", lambda _: {})
        monkeypatch.setattr(profiling, "sampled_functions", self.sample)
        monkeypatch.setattr(profiling, "wait_until_busy", lambda *_: None)
        monkeypatch.setattr(profiling, "run_offer", self.offer)
        monkeypatch.setattr(profiling, "SETTLE_S", 0.01)
        monkeypatch.setattr(Part, "is_python", property(lambda part: "haproxy" not in part.name))

    def cpu(self, _parts: object) -> dict[Part, float]:
        self._looks += 1
        return {part: self._looks * self._cpu_s[part.name] for part in self.parts}

    def sample(self, pid: int, _seconds: float) -> str:
        self.sampled.append(self.parts[pid].name)
        return "score (scoring/edge.py) 40%"

    def offer(self, offer: Offer) -> Outcome:
        self.offers.append(offer)
        return Outcome(offered=100, statuses={"200": 98, "503": 2})


def test_under_requests_the_edge_and_the_processor_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(
        monkeypatch, {"processor-0": 2.0, "scoring": 0.1, "scoring: haproxy": 1.0, "scoring-http-0": 4.0, "drift-0": 0.0}
    )  # fmt: skip
    rows = list(profiling.http_profile_rows(Settings(home="x"), 100, 6.0))
    assert sorted(looks.sampled) == ["processor-0", "scoring-http-0"]
    # what takes most comes first; what takes nothing has no line
    names = [one.what.rpartition("requests/s: ")[2] for one in rows]
    assert names == ["scoring-http-0", "processor-0", "scoring: haproxy", "scoring", "decided"]
    assert "own time: score (scoring/edge.py) 40%" in rows[0].note
    assert "own time" not in rows[2].note and rows[-1].runs == [98.0]
    # the load lasts longer than all that is sampled
    assert looks.offers[0].rate == 100 and looks.offers[0].seconds > 2 * 6.0


def test_without_an_edge_nothing_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # this process waits for itself
    monkeypatch.setattr(profiling, "BUSY_PERCENT", float("inf"))
    with pytest.raises(OfferError, match="no replica"):
        profiling.wait_until_busy([Part("processor-0", os.getpid())], lambda: False)
    with pytest.raises(OfferError, match="no replica"):
        profiling.wait_until_busy([Part("scoring-http-0", os.getpid())], lambda: True)
