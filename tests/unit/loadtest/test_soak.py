"""A soak's judgement: what grows with steady traffic leaks, what warms up or keeps data does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from infra.stack.ports import settings_for
from loadtest.bench import soak
from loadtest.bench.harness import running_stack
from loadtest.bench.soak import Usage, table, trends

SECONDS = 1200.0


def grown(process: str, per_s: float, *, warm_s: float = 0.0) -> list[Usage]:
    """A process of 200 MB that grows by so many MB a second, after it has doubled within ``warm_s``."""
    out = []
    for at_s in range(0, int(SECONDS), 5):
        warm = min(1.0, at_s / warm_s) if warm_s else 1.0
        out.append(Usage(at_s, process, 100 + 100 * warm + per_s * at_s, 40, 12))
    return out


def leaking(seen: list[Usage]) -> set[tuple[str, str]]:
    return {(one.process, one.what) for one in trends(seen, SECONDS) if one.leaks}


@pytest.mark.parametrize(
    ("seen", "leaks"),
    [
        (grown("archive-0", 0.0), set()),
        (grown("archive-0", 0.0, warm_s=200), set()),
        # 14 MB from one part to the other, 7 %
        (grown("archive-0", 0.02), {("archive-0", "MB")}),
        (grown("redis", 0.02), set()),
    ],
)
def test_growth_after_the_warm_up_is_a_leak_but_not_of_who_keeps_data(
    seen: list[Usage], leaks: set[Any]
) -> None:
    assert leaking(seen) == leaks


def test_files_and_threads_count_also_where_data_are_kept() -> None:
    seen = [
        Usage(at_s, "kafka", 500, 100 + at_s // 10, 60 + at_s // 20) for at_s in range(0, int(SECONDS), 5)
    ]
    assert leaking(seen) == {("kafka", "files"), ("kafka", "threads")}
    assert "leaks" in table(trends(seen, SECONDS))


def test_one_connection_more_is_none() -> None:
    seen = [
        Usage(at_s, "oncall", 90, 20 + (at_s > 600), 9 + (at_s > 600)) for at_s in range(0, int(SECONDS), 5)
    ]
    assert leaking(seen) == set()


def test_a_process_that_was_not_there_in_both_parts_has_no_trend() -> None:
    seen = [Usage(at_s, "late-0", 90, 20, 9) for at_s in range(600, int(SECONDS), 5)]
    assert trends(seen, SECONDS) == []


def test_what_a_process_uses_is_read_from_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"name": "here-0", "pid": os.getpid()}, {"name": "gone-0", "pid": None}]
    monkeypatch.setattr(soak, "processes", lambda _: rows)
    (found,) = soak.usage_of(settings_for(tmp_path, 21_000), 3.0)
    assert (found.at_s, found.process) == (3.0, "here-0")
    assert found.mb > 1 and found.files > 0 and found.threads > 0


@pytest.mark.parametrize(("code", "listed"), [(0, True), (1, True), (3, False)])
def test_a_stack_that_is_not_ready_at_a_moment_is_watched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, listed: bool
) -> None:
    tollgate = tmp_path / "tollgate"
    tollgate.write_text(
        f"""#!/bin/sh\necho '{{"processes": [{{"name": "here-0", "pid": 1}}]}}'\nexit {code}\n"""
    )
    tollgate.chmod(0o700)
    monkeypatch.setattr(running_stack, "TOLLGATE", str(tollgate))
    settings = settings_for(tmp_path, 21_000)
    if listed:
        assert running_stack.processes(settings) == [{"name": "here-0", "pid": 1}]
    else:
        with pytest.raises(running_stack.StackError, match="status` failed"):
            running_stack.processes(settings)
