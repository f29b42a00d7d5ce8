"""A rolling restart: in which order, and when the next one's turn has come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from infra.stack import StackError, restarting, settings_for
from infra.stack.health.asking import NoAnswer, Watched
from infra.stack.restarting import rolling_order
from services.cli.operating.pages import restart as command
from streams.runtime.settings import Settings

RUNNING = [
    "oncall", "kafka", "redis", "alertmanager", "prometheus", "processor-0", "processor-1", "labels-0", "scoring", "rollout-0", "archive-0",
    "console", "trainer-0", "mlflow", "drift-0", "scoring-stream-0", "scoring-stream-1", "scoring-http-0",
]  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_for(tmp_path, 21_000)
    made.save()
    return made


def test_what_decides_comes_last_and_what_there_is_one_of_only_if_asked_for(settings: Settings) -> None:
    order = rolling_order(settings, RUNNING, servers=False)
    assert set(order) == set(RUNNING) - {"kafka", "redis", "scoring"}
    assert order[-5:] == [
        "scoring-stream-0",
        "scoring-stream-1",
        "scoring-http-0",
        "processor-0",
        "processor-1",
    ]
    assert order.index("mlflow") < order.index("oncall") < order.index("archive-0")
    assert rolling_order(settings, RUNNING, servers=True) == [*order, "redis", "kafka", "scoring"]


class Stack:
    """Restarted processes, what they answer, and the members of their groups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, running: list[str]) -> None:
        self.log: list[str] = []
        self.silent_looks = 3
        self.members = frozenset({"processor-0-a", "processor-1-a"})
        monkeypatch.setattr(restarting, "processes", lambda _: [{"name": name} for name in running])
        monkeypatch.setattr(restarting, "restart", self._restart)
        monkeypatch.setattr(restarting, "watched", lambda _: [Watched(name, self._ask) for name in running])
        monkeypatch.setattr(restarting, "group_members", self._members)
        monkeypatch.setattr(time, "sleep", lambda _: None)

    def _restart(self, _: Settings, name: str, __: Any) -> None:
        self.log.append(f"restart {name}")
        self.silent_looks = 3

    def _ask(self) -> None:
        self.silent_looks -= 1
        if self.silent_looks >= 0:
            raise NoAnswer("starting")
        self.log.append("answers")

    def _members(self, _: Settings, name: str) -> frozenset[str]:
        before = self.members
        if self.silent_looks < -2 and f"{name}-a" in before:
            self.members = before - {f"{name}-a"} | {f"{name}-b"}
        return before


def test_the_next_waits_until_the_one_before_answers_and_is_in_its_group(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    stack = Stack(monkeypatch, ["processor-0", "processor-1"])
    assert restarting.restart_all(settings, lambda _: None) == ["processor-0", "processor-1"]
    first, second = stack.log.index("restart processor-0"), stack.log.index("restart processor-1")
    # it answered several times before its group had taken it
    assert stack.log[first + 1 : second].count("answers") > 1
    assert stack.members == {"processor-0-b", "processor-1-b"}


def test_a_group_that_shares_its_partitions_out_is_waited_for_before_one_of_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    stack = Stack(monkeypatch, ["processor-0", "processor-1"])
    under_way = 3

    def members(of: Settings, name: str) -> frozenset[str] | None:
        nonlocal under_way
        under_way -= 1
        if under_way >= 0:
            stack.log.append("under way")
            return None
        return stack._members(of, name)

    monkeypatch.setattr(restarting, "group_members", members)
    restarting.restart_all(settings, lambda _: None)
    assert stack.log[:4] == ["under way"] * 3 + ["restart processor-0"]


def test_one_that_does_not_come_back_ends_it(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    stack = Stack(monkeypatch, ["processor-0", "processor-1"])
    monkeypatch.setattr(restarting, "BACK_WITHIN_S", 0.05)
    monkeypatch.setattr(restarting, "group_members", lambda *_: frozenset({"processor-0-a"}))
    with pytest.raises(StackError, match="processor-0 runs but is not back"):
        restarting.restart_all(settings, lambda _: None)
    assert "restart processor-1" not in stack.log


def test_without_a_stack_it_says_so(settings: Settings) -> None:
    with pytest.raises(StackError, match="no stack is running"):
        restarting.restart_all(settings, lambda _: None)


@pytest.mark.parametrize("words", [[], ["kafka", "--rolling"], ["kafka", "--servers"], ["--servers"]])
def test_a_name_or_all_of_them(settings: Settings, words: list[str]) -> None:
    done = CliRunner().invoke(command, [*words, "--home", settings.home])
    assert done.exit_code == 2 and "--rolling" in done.output
