"""Damaged files and mappings end in transactions or in a reason. ``make fuzz-mapping COUNT=50000`` tries more of them."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.support.mapping_mutations import mutated, outcome, seeds

COUNT = int(os.environ.get("MAPPING_MUTATIONS", "200"))
FIRST = int(os.environ.get("MAPPING_MUTATIONS_FROM", "0"))


def test_without_damage_all_fit(tmp_path: Path) -> None:
    for case in seeds()[:1] + seeds()[3:]:
        assert outcome(case, tmp_path, suggested=True) == "fits"


@pytest.mark.timeout(COUNT + 300)
def test_damage_ends_in_a_result_or_a_reason(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    cases = seeds()
    for number in range(FIRST, FIRST + COUNT):
        case = mutated(cases[number % len(cases)], random.Random(number))
        try:
            outcomes[outcome(case, tmp_path, suggested=number % 10 == 0)] += 1
        except BaseException:
            (tmp_path / "mapping.toml").write_bytes(case.mapping)
            print(f"case {number}: {tmp_path / case.name} with {tmp_path / 'mapping.toml'}")
            raise
    # the damage is of all degrees
    assert outcomes["fits"] > COUNT / 20 and len(outcomes) > 5
