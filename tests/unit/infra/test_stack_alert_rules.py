"""Alert rules: promtool's own tests, and that rules, metrics and runbooks fit together."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import streams.runtime.metrics  # registers every metric
from infra.stack.tools import CHECKOUT

FOLDER = CHECKOUT / "infra" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]


def known_names() -> set[str]:
    assert streams.runtime.metrics.TRANSACTIONS is not None
    names = set()
    for family in REGISTRY.collect():
        names |= {family.name, f"{family.name}_total", f"{family.name}_bucket"}
    return names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_names_known_metrics_and_says_what_to_do(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\btollgate_[a-z_]+", rule["expr"]))
    assert named <= known_names()
    assert rule["labels"]["severity"] in ("page", "ticket", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    runbook = CHECKOUT / rule["annotations"]["runbook_url"]
    assert runbook.stem == rule["alert"]
    assert runbook.read_text().startswith(f"# {rule['alert']}\n")


def test_no_runbook_without_its_rule() -> None:
    assert {path.stem for path in (CHECKOUT / "infra" / "runbooks").glob("*.md")} == {
        r["alert"] for r in RULES
    }


def test_the_labels_that_rules_group_by_exist() -> None:
    labels = {
        "tollgate_consumer_lag": {"group", "topic"},
        "tollgate_process_up": {"process"},
        "tollgate_dead_letters_total": {"topic", "reason"},
        "tollgate_records_set_aside_total": {"topic", "reason"},
        "tollgate_retraining_requests_total": {"reason"},
        "tollgate_bundle_refused_total": {"reason"},
        "tollgate_rule_errors_total": {"rule"},
        "tollgate_retraining_runs_total": {"result"},
        "tollgate_drift_rows_total": {"severity"},
    }
    metrics = {
        "tollgate_consumer_lag": streams.runtime.metrics.CONSUMER_LAG,
        "tollgate_process_up": streams.runtime.metrics.PROCESS_UP,
        "tollgate_dead_letters_total": streams.runtime.metrics.DEAD_LETTERS_TOTAL,
        "tollgate_records_set_aside_total": streams.runtime.metrics.SET_ASIDE,
        "tollgate_retraining_requests_total": streams.runtime.metrics.RETRAINING_REQUESTS,
        "tollgate_bundle_refused_total": streams.runtime.metrics.BUNDLE_REFUSED,
        "tollgate_rule_errors_total": streams.runtime.metrics.RULE_ERRORS,
        "tollgate_retraining_runs_total": streams.runtime.metrics.RETRAINING_RUNS,
        "tollgate_drift_rows_total": streams.runtime.metrics.DRIFT_ROWS,
    }
    for name, wanted in labels.items():
        assert wanted <= set(metrics[name]._labelnames)


def test_promtool_agrees(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (it comes with the prometheus package)")
    done = subprocess.run(
        [promtool, "test", "rules", str(FOLDER / "rules_test.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
