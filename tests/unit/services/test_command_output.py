"""What commands print is not cut: in help, in tables outside of a terminal, in a narrow one; what is wrong comes first."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from rich.console import Console

from infra.doctor import Check
from infra.oncall.alerts import Firing
from services.cli import decisions, stack
from services.cli.main import COMMANDS, cli
from services.cli.models import drift
from services.cli.models.drift_findings import findings
from services.cli.operating import pages
from services.cli.terminal.tables import console, table
from services.cli.terminal.words import duration, visible
from streams.audit.dead_letter_replay import Refused
from streams.contracts.drift import DriftRow
from streams.runtime.dead_letters import DeadLetter
from streams.runtime.settings import Settings

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)


def row(number: int, feature: str, severity: str, model: str = "1.0.0") -> DriftRow:
    at = BEGIN + timedelta(minutes=number)
    return DriftRow(
        detector="ks", feature=feature, window_start=at, window_end=at, rows=500, statistic=0.25, p_value=1e-9, psi=0.31,
        severity=severity, model_version=model, bundle_reference="fraud/1.0.0/reference.npz",
    )  # type: ignore[arg-type]  # fmt: skip


ROWS = [
    row(0, "amount", "critical"), row(0, "hour", "warning"), row(1, "amount", "critical"), row(1, "hour", "none"),
    row(2, "amount", "warning"), row(3, "amount", "critical"), row(3, "hour", "warning"), row(3, "card_amount_ratio_mean_30d", "none"),
]  # fmt: skip


def test_a_finding_is_one_line_with_since_last_and_how_often() -> None:
    found = [
        (f.newest.feature, f.newest.severity, f.since, f.newest.window_end, f.rounds) for f in findings(ROWS)
    ]
    at = [BEGIN + timedelta(minutes=number) for number in range(4)]
    assert found == [
        ("amount", "critical", at[0], at[3], 4), ("hour", "warning", at[3], at[3], 1),
        ("card_amount_ratio_mean_30d", "none", at[3], at[3], 1),
    ]  # fmt: skip
    # another model's drift is another finding
    assert len(findings([row(0, "amount", "critical"), row(1, "amount", "critical", "1.1.0")])) == 2


def test_tables_in_a_pipe_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    drift._show(findings(ROWS), [])
    printed = capsys.readouterr().out
    for word in (
        "severity",
        "card_amount_ratio_mean_30d",
        "2026-11-30 12:00:00",
        "12:03:00",
        "statistic",
        "1.0e-09",
        "1.0.0",
    ):
        assert word in printed
    assert "…" not in printed and printed.count("amount ") == 1
    assert console().width > 1_000


def test_a_narrow_terminal_folds_cells_and_cuts_none() -> None:
    made = table("feature", "severity", "model")
    made.add_row("card_amount_ratio_mean_30d", "critical", "1.0.0-rc.1")
    narrow = Console(width=30)
    with narrow.capture() as captured:
        narrow.print(made)
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in captured.get().splitlines()
        if "│" in line
    ]
    assert ["".join(parts) for parts in zip(*cells, strict=True)] == ["card_amount_ratio_mean_30d", "critical", "1.0.0-rc.1"]  # fmt: skip


def test_the_doctor_begins_with_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("Python", "ok", "3.11"), Check("Java", "wrong", "none", "install it"), Check("GPU", "ok", "none"), Check("Prometheus", "warning", "none")]  # fmt: skip
    monkeypatch.setattr(stack.machine, "examine", lambda *_args, **_more: checks)
    with pytest.raises(SystemExit):
        stack.doctor.main(["--home", str(tmp_path)], standalone_mode=True)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed] == ["Java", "Prometheus", "Python", "GPU"]


def commands(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            found += commands(inner, (*path, name))
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_is_cut_and_each_says_what_the_command_does(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for path, each in commands(command, (name,)):
        text = each.get_help(click.Context(each, info_name=" ".join(path), terminal_width=80))
        assert "..." not in re.sub(r"\[ARGS\]\.\.\.", "", text), path
        assert max(map(len, text.splitlines())) <= 80, path
        assert each.help, path


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.2 s"), (119.0, "119 s"), (150, "2 min"), (7_200, "2 h"), (172_800, "2 days"), (4_251_610, "49 days")],
)  # fmt: skip
def test_long_times_are_said_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


HOSTILE = "[/nothing] [red] :skull: \x1b]0;owned\x07\x1b[2J \x9b2J \u202egpj.exe\nall is well"


def test_what_a_record_says_gives_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever may write to a topic would else write on the screen of who reads it."""
    drift._show(findings([row(0, HOSTILE, "critical")]), [])
    letter = DeadLetter(
        reason=HOSTILE, field=HOSTILE, text=HOSTILE, source_topic="transactions", source_partition=0, source_offset=1,
        first_seen="2026-11-30T12:00:00Z", original=None,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decisions, "list_refused", lambda *_: [Refused(0, 0, letter, None)])
        patch.setattr(decisions, "load_settings", lambda _home: Settings(home="/h"))
        decisions.list_letters.callback(Path("/h"), False, None, False)  # type: ignore[misc]
    firing = Firing("DriftSevere", "page", "2026-11-30T12:00:00", HOSTILE, HOSTILE, False)
    assert pages.line(firing).count("\n") == 1
    printed = capsys.readouterr().out + pages.line(firing)
    assert "[/nothing] [red] :skull:" in printed
    for order in ("\x1b", "\x07", "\x9b", "\u202e"):
        assert order not in printed
    assert "\\x1b]0;owned\\x07" in printed and "\\nall is well" in printed


def test_letters_of_every_language_are_shown_as_they_are() -> None:
    for text in ("Zürich, 3 €", "Café Ωmega Москва 東京 مقهى", "a  b", "\u00a0", ""):
        assert visible(text) == text
    assert visible("a\u2028b\tc") == "a\\u2028b\\tc"
