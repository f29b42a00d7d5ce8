"""What `tollgate status` says of partitions that stand and of processes that restart in circles."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra.stack.health import standing
from infra.stack.health.causes import NEEDED
from infra.stack.health.circles import circles
from infra.stack.health.standing import READS, Waiting
from infra.stack.health.status import state
from infra.stack.ports import settings_for
from services.rollout.main import GROUP as ROLLOUT
from services.scoring.stream.worker import GROUP as SCORING
from services.trainer.main import GROUP as TRAINER
from streams.labels.main import GROUP as LABELS
from streams.processor.state_loss import GROUP as PROCESSOR
from streams.runtime.settings import Settings
from streams.runtime.suspects import Suspects

PLACE = ("processor", "transactions", 0)
RUNNING = [{"name": name, "state": "running"} for name in NEEDED]


def test_the_groups_are_those_that_the_processes_join() -> None:
    assert {group for group, _, _ in READS} == {PROCESSOR, SCORING, LABELS, ROLLOUT, TRAINER}


def stack(folder: Path) -> Settings:
    settings = settings_for(folder, 20_000)
    settings.log_dir.mkdir()
    return settings


def said(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, before: Waiting, after: Waiting
) -> list[tuple[str, bool]]:
    looks = iter([{PLACE: before}, {PLACE: after}])
    monkeypatch.setattr(standing, "positions", lambda _: next(looks))
    return [(problem.text, problem.stops) for problem in standing.standing(settings, pause=0)]


def test_a_partition_stands_when_records_wait_and_the_group_does_not_move(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = stack(tmp_path)
    ((text, stops),) = said(monkeypatch, settings, Waiting(5, 9, 9), Waiting(5, 12, 12))
    assert "processor stands on transactions[0] at offset 5: 7 records wait" in text and stops


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Waiting(9, 12, 9), Waiting(9, 12, 12)),
        (Waiting(5, 9, 9), Waiting(6, 90, 90)),
        (Waiting(5, 9, 9), Waiting(9, 9, 9)),
    ],
    ids=["its records may be on their way", "it moves", "it has caught up"],
)
def test_a_partition_that_moves_does_not_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: Waiting, after: Waiting
) -> None:
    assert said(monkeypatch, stack(tmp_path), before, after) == []


def test_the_record_that_ends_its_worker_is_named_with_the_command_that_skips_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = stack(tmp_path)
    for _ in range(2):
        suspects = Suspects(settings.run_dir / "handling", "processor")
        suspects.took_over(PLACE[1:])
        suspects.begin(PLACE[1:], 5, 6)
    Suspects(settings.run_dir / "handling", "processor").took_over(PLACE[1:])
    ((text, _),) = said(monkeypatch, settings, Waiting(5, 9, 9), Waiting(5, 9, 9))
    assert "its worker has ended 2 times on the records from 5 to 5" in text
    assert "`tollgate skip transactions 0 5 --why TEXT`" in text


NOW_S = time.mktime((2026, 11, 30, 12, 0, 0, 0, 0, -1))


def log_of(settings: Settings, *ages_s: float, name: str = "processor-0") -> None:
    lines = []
    for age_s in ages_s:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW_S - age_s))
        lines.append(f"{moment},123 INFO spawned: '{name}' with pid 42\n")
    (settings.log_dir / "supervisord.log").write_text("".join(lines))
    (settings.log_dir / f"{name}.log").write_text("ValueError: what ended it\n")


def test_a_process_that_restarts_in_circles_is_a_problem_with_its_last_words(tmp_path: Path) -> None:
    settings = stack(tmp_path)
    log_of(settings, 50, 30, 10)
    (problem,) = circles(settings, NEEDED, set(), NOW_S)
    assert problem.stops
    assert "processor-0 was started 3 times in the last 120 s" in problem.text
    assert "ValueError: what ended it" in problem.text
    assert state(settings, RUNNING, [problem]) == "starting"
    log_of(settings, 50, 30, 10, name="archive-0")
    (problem,) = circles(settings, NEEDED, set(), NOW_S)
    assert not problem.stops


@pytest.mark.parametrize("ages_s", [(10.0,), (30.0, 10.0), (500.0, 400.0, 10.0)])
def test_a_few_starts_are_no_circle(tmp_path: Path, ages_s: tuple[float, ...]) -> None:
    settings = stack(tmp_path)
    log_of(settings, *ages_s)
    assert circles(settings, NEEDED, set(), NOW_S) == []


def test_a_process_that_runs_again_has_left_the_circle(tmp_path: Path) -> None:
    settings = stack(tmp_path)
    log_of(settings, 110, 80, 40)
    assert circles(settings, NEEDED, {"processor-0"}, NOW_S) == []
    assert len(circles(settings, NEEDED, set(), NOW_S)) == 1
