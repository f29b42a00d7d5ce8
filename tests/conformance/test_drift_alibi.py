"""Alibi Detect's own tests behind the protocol, in the drift stream's environment: what they see and what they let be."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-drift" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="no .venv-drift: `make setup` brings the drift stream's environment"
)


@pytest.fixture(scope="module")
def said() -> dict[str, list[dict[str, str]]]:
    script = ROOT / "tests" / "support" / "drift_alibi_script.py"
    ended = subprocess.run(
        [str(PYTHON), str(script)], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, list[dict[str, str]]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def alarms(round_: dict[str, str]) -> dict[str, str]:
    return {name: severity for name, severity in round_.items() if severity != "none"}


def test_twenty_windows_of_the_same_traffic_raise_no_alarm(said):
    """At a false discovery rate of 1 % a round errs once in a hundred; the demanded effect size makes it far rarer."""
    assert len(said["same"]) == 20
    assert [alarms(round_) for round_ in said["same"]] == [{}] * 20


def test_an_hour_of_the_night_is_no_drift(said):
    assert [alarms(round_) for round_ in said["night"]] == [{}] * 5


def test_a_young_state_is_no_drift(said):
    assert [alarms(round_) for round_ in said["young"]] == [{}] * 5
    assert "ks:score" not in said["young"][0] and "chi2:card_new_device" not in said["young"][0]


def test_shifts_are_found_where_they_are(said):
    (amounts,), (channels,), (country,) = said["amounts"], said["channels"], said["country"]
    assert amounts["ks:amount"] == "critical" and amounts["classifier:*"] != "none"
    assert amounts["chi2:channel"] == "none" and amounts["chi2:card_cross_border"] == "none"
    assert channels["chi2:channel"] == "critical" and channels["classifier:*"] != "none"
    assert channels["ks:amount"] == "none"
    assert country["chi2:card_cross_border"] == "critical"
    assert country["ks:amount"] == "none"


def test_scores_and_decisions_drift_as_features_do(said):
    (scores,) = said["scores"]
    assert alarms(scores) == {"ks:score": "critical", "chi2:decision": "critical"}


def test_a_field_that_turns_empty_is_found(said):
    (empty,), (unknown,) = said["empty"], said["unknown"]
    assert empty["null_rate:mcc"] == "critical" and "chi2:mcc" not in empty
    assert {name: severity for name, severity in alarms(empty).items() if name != "classifier:*"} == {
        "null_rate:mcc": "critical"
    }
    fields = {f"null_rate:{name}" for name in ("amount", "channel", "mcc", "currency_code")}
    assert set(alarms(unknown)) - {"classifier:*"} == fields
