"""The main loops of trainer, rollout and stream scorer move their heartbeat: one that hangs stops it, and its supervisor ends the process."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.rollout import main as rollout
from services.scoring.stream import worker as stream
from services.scoring.stream.worker import StreamScorer
from services.trainer import main as trainer
from streams.runtime.heartbeat import LOOP_STANDS_S, Heartbeat
from streams.runtime.process import Process
from streams.runtime.settings import Settings
from tests.support.catalogue_samples import UNKNOWN
from tests.support.stream_fakes import Producer
from tests.support.waiting import STALL_S

ROUNDS = 3


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Loop:
    """A process whose time passes only in ``poll``; after ``ROUNDS`` it is asked to stop. ``alive``: of its heartbeat, at each poll."""

    def __init__(self, tmp_path: Path, name: str) -> None:
        self.clock, self.stop = Clock(), threading.Event()
        self.heartbeat = Heartbeat(self.clock)
        self.process = Process(Settings(home=str(tmp_path)), name, self.stop, self.heartbeat)
        self.alive: list[bool] = []

    def poll(self, _: float) -> None:
        self.alive.append(self.heartbeat.alive)
        # nearly as long as a loop may stand: one that did not move in the round before would be dead by the next
        self.clock.now_s += LOOP_STANDS_S - 1
        if len(self.alive) == ROUNDS:
            self.stop.set()

    def hangs(self) -> None:
        """The loop does not come round any more."""
        self.clock.now_s += 2
        assert not self.heartbeat.alive


def consumer_of(loop: Loop) -> Any:
    def nothing(*_: Any, **__: Any) -> None: ...

    return SimpleNamespace(poll=loop.poll, subscribe=nothing, close=nothing)


def test_rollout(tmp_path: Path) -> None:
    loop = Loop(tmp_path, "rollout-0")

    def nothing(*_: Any) -> None: ...

    runs = SimpleNamespace(tick=nothing, under_way=None)
    work: Any = SimpleNamespace(
        runs=runs, note_access=nothing, note_skips=nothing, note_console=nothing, serve_first=nothing
    )
    guard: Any = SimpleNamespace(look=nothing)
    records: Any = None
    rollout._serve(loop.process, work, guard, consumer_of(loop), records)
    assert loop.alive == [True] * ROUNDS
    loop.hangs()


def test_trainer_also_while_a_job_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(tmp_path, "trainer-0")
    during: list[bool] = []

    def job(*_: Any) -> None:
        loop.clock.now_s += 3 * LOOP_STANDS_S
        during.append(loop.heartbeat.alive)

    monkeypatch.setattr(trainer, "start_process", lambda _: loop.process)
    monkeypatch.setattr(trainer, "new_consumer", lambda *_, **__: consumer_of(loop))
    monkeypatch.setattr(trainer, "OneByOne", lambda *_: None)
    monkeypatch.setattr(trainer, "ShownPerformance", lambda _: SimpleNamespace(look=lambda *_: None))
    monkeypatch.setattr(trainer, "track", job)
    monkeypatch.setattr(trainer, "LOOK_S", -1.0)
    trainer.main()
    assert loop.alive == [True] * ROUNDS and during == [True] * ROUNDS
    loop.clock.now_s += LOOP_STANDS_S
    loop.hangs()


def test_stream_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(tmp_path, "scoring-stream-0")
    live: Any = None
    monkeypatch.setattr(stream, "new_producer", lambda *_, **__: Producer())
    monkeypatch.setattr(stream, "new_consumer", lambda *_, **__: consumer_of(loop))
    worker = StreamScorer(
        loop.process.settings, "scoring-stream-0", live, UNKNOWN, loop.stop, heartbeat=loop.heartbeat
    )
    worker.start()
    worker.join(STALL_S)
    assert not worker.alive
    assert loop.alive == [True] * ROUNDS
    loop.hangs()
