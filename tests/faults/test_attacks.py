"""Every attack of ``make attack`` on the whole stack: decisions go on, and what was refused is kept."""

from __future__ import annotations

import pytest

from streams.runtime.settings import Settings
from tests.attack.registry import attacks


@pytest.mark.stack
@pytest.mark.timeout(600)
@pytest.mark.comes_late(place=2)
@pytest.mark.parametrize("name", attacks())
def test_the_system_holds(running_stack: Settings, name: str) -> None:
    finding = attacks()[name](running_stack)
    assert finding.held, finding.text
