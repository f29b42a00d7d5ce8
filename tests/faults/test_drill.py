"""A sample of the drill: a frozen processor pages under its own name, is started again by its supervisor, and nothing is lost."""

from __future__ import annotations

import pytest

from infra.stack.tools import find_tools
from streams.runtime.settings import Settings
from tests.faults.drill.drills import DRILLS
from tests.faults.drill.running import run

pytestmark = pytest.mark.stack


@pytest.mark.timeout(600)
def test_a_frozen_processor(running_stack: Settings) -> None:
    if find_tools().alertmanager is None or find_tools().prometheus is None:
        pytest.skip("needs Prometheus and Alertmanager: `make setup` brings them")
    [drill] = [drill for drill in DRILLS if drill.fault == "processor frozen"]
    result = run(running_stack, drill, seconds=60)
    assert result.paged_s is not None, "no page came"
    # a busy machine may delay every step of the way
    assert result.paged_s < 2 * drill.within_s
    assert (result.missing, result.doubled) == (0, 0)
    assert result.right, result.diagnosis
    assert [step for step in result.steps if step.wrong] == []
