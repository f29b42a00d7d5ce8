"""Alerts that depend on hours and days: hourly patterns, error budgets, slopes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promtool import assert_promtool_agrees


@pytest.mark.timeout(420)
@pytest.mark.parametrize("file", ["rules_long_test.yml", "slo_test.yml"])
def test_promtool_agrees(file: str, tmp_path: Path) -> None:
    assert_promtool_agrees(file, tmp_path)
