"""The drill and the runbooks belong together: what it mends with stands on the page, and every command of its pages is run somewhere."""

from __future__ import annotations

import re

import pytest

from infra.stack.servers.monitoring import alert_rules
from infra.stack.tools import CHECKOUT
from tests.faults.drill.drills import DRILLS, Drill
from tests.faults.drill.runbook import AFTERWARDS, ELSEWHERE, PROMISED, plan
from tests.faults.drill.running import names, new_first
from tests.support.runbooks import PAGES, looks, typed

DRILLED = sorted({drill.alert for drill in DRILLS})
#: run by the drill of a process, on the page ProcessDown or its own
RESTARTED = {
    command
    for drill in DRILLS
    if drill.mend.startswith("tollgate restart")
    for command in (f"tollgate restart {drill.victim}", drill.mend)
}


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.fault)
def test_a_fault_has_an_alert_and_what_mends_it_stands_on_its_page(drill: Drill) -> None:
    assert drill.alert in {rule["alert"] for rule in alert_rules()}
    planned = plan(drill)
    assert planned and (not drill.mend or drill.mend in planned)


@pytest.mark.parametrize("page", DRILLED)
def test_every_command_of_a_drilled_page_is_run(page: str) -> None:
    run = {command for drill in DRILLS if drill.alert == page for command in plan(drill)}
    left = [
        command
        for command in typed(PAGES[page])
        if command not in run | RESTARTED and not command.startswith(tuple(ELSEWHERE))
    ]
    assert left == []


def test_what_is_promised_stands_on_the_page() -> None:
    for page, command in PROMISED:
        assert command in typed(PAGES[page]), (page, command)
    for page, commands in AFTERWARDS.items():
        over = PAGES[page][PAGES[page].index("**Over when**") :]
        for command in commands:
            assert command in typed(over), (page, command)


@pytest.mark.parametrize(("command", "file"), ELSEWHERE.items())
def test_a_command_that_is_run_elsewhere_is_run_there(command: str, file: str) -> None:
    text = (CHECKOUT / file).read_text()
    for word in command.split()[1:]:
        assert re.search(rf"[\"' ]{word}[\"' ]", text), f"{file} does not run {command}"


def test_a_diagnosis_about_another_process_is_not_the_faults() -> None:
    [drill] = [drill for drill in DRILLS if drill.fault == "trainer-0 frozen"]
    earlier, own = (
        {"what": f"ProcessStoodStill: {name} stood still for 30 s", "runbook": "http://x/runbooks/ProcessStoodStill"}
        for name in ("archive-0", "trainer-0")
    )  # fmt: skip
    assert not names(drill, earlier) and names(drill, own)
    assert new_first([earlier, own], {"DriftSevere"}, {"archive-0"}) == own


def test_what_only_looks_is_told_from_what_changes() -> None:
    assert (
        looks("sum(rate(tollgate_transactions_total[1m]))")
        and looks("tollgate status")
        and looks("tollgate reconcile")
        and looks("tail <home>/logs/kafka.log")
    )
    for change in (
        "tollgate restart kafka",
        'tollgate reconcile --repair --why "x"',
        "tollgate models rollback",
        "redis-cli config set a b",
    ):
        assert not looks(change)
