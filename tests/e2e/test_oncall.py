"""What the on-call engineer has on a running stack: metrics behind every rule, and the runbooks' commands that change nothing."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from infra.stack.servers.monitoring import RULES, scraped
from streams.runtime.settings import Settings
from tests.support.runbooks import LOOKS, PAGES, all_commands, filled, looks
from tests.support.running import run_cli
from tests.support.waiting import STALL_S

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def test_what_rules_and_runbooks_read_is_on_a_live_scrape(running_stack: Settings) -> None:
    exported = set()
    for name in scraped(running_stack):
        page = httpx.get(f"http://127.0.0.1:{running_stack.metrics_port(name)}/metrics", timeout=STALL_S).text
        exported |= set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    assert {"tollgate_process_up", "tollgate_log_end_offset"} <= exported
    text = "".join([*PAGES.values(), *(path.read_text() for path in RULES)])
    named = {re.sub(r"_(bucket|count)$", "", name) for name in re.findall(r"\btollgate_[a-z_]+", text)}
    # prometheus_client writes a counter's name as TYPE with its ending, or without
    assert {name for name in named if not {name, name.removesuffix("_total")} & exported} == set()


def test_runbook_commands_that_only_look_run(running_stack: Settings) -> None:
    looking = {tuple(words) for _, words in all_commands() if looks(" ".join(["tollgate", *words]))}
    # without a model that waits it is refused: the drill has one
    looking = {words for words in looking if words[:2] != ("models", "evidence")}
    assert len(looking) >= len(LOOKS)
    for words in sorted(looking):
        done = run_cli(running_stack, *filled(list(words), running_stack.root / "settings.json"))
        said = (
            f"tollgate {' '.join(words)}: exit {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-500:]}"
        )
        # 1: the check that it makes failed, which depends on what other tests have left
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, said


def test_the_doctor_finds_no_process_gone_and_names_pages_that_open(running_stack: Settings) -> None:
    done = run_cli(running_stack, "doctor", "--live", "--json")
    # 1: what other tests have left, such as a training under way or late decisions
    assert done.returncode in (0, 1), done.stderr
    for words in ("is stopped", "does not answer", "has ended"):
        assert words not in done.stdout
    for finding in json.loads(done.stdout)["findings"]:
        page = httpx.get(finding["runbook"], timeout=STALL_S)
        assert page.status_code == 200 and page.text.startswith(f"# {finding['runbook'].rsplit('/', 1)[1]}\n")
