"""Alert rules: promtool's own tests, and that rules, metrics and runbooks fit together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import streams.runtime.metrics  # registers every metric
from infra.oncall import slo
from infra.stack.servers import monitoring
from infra.stack.servers.monitoring import alert_rules
from infra.stack.tools import CHECKOUT
from tests.support.promtool import assert_promtool_agrees

RULES: list[dict[str, Any]] = alert_rules()
RECORDED = {
    rule["record"]
    for path in monitoring.RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "record" in rule
}


def known_names() -> set[str]:
    assert streams.runtime.metrics.TRANSACTIONS is not None
    names = set()
    for family in REGISTRY.collect():
        names |= {family.name, f"{family.name}_total", f"{family.name}_bucket", f"{family.name}_count"}
    return names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_a_rule_names_known_metrics_and_says_what_to_do(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\btollgate_[a-z_]+", rule["expr"]))
    assert named <= known_names()
    assert set(re.findall(r"\btollgate:[a-z0-9_:]+", rule["expr"])) <= RECORDED
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
        "tollgate_drift_rows_total": {"severity", "detector"},
        "tollgate_processes_stood_still_total": {"process"},
        "tollgate_log_end_offset": {"topic"},
        "tollgate_log_quiet_seconds": {"topic", "which"},
        "tollgate_disk_bytes": {"folder", "what"},
        "tollgate_certificate_ends_timestamp_seconds": {"certificate"},
        "tollgate_http_requests_total": {"route", "code"},
        "tollgate_decisions_total": {"status"},
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
        "tollgate_processes_stood_still_total": streams.runtime.metrics.STOOD_STILL,
        "tollgate_log_end_offset": streams.runtime.metrics.LOG_END,
        "tollgate_log_quiet_seconds": streams.runtime.metrics.LOG_QUIET,
        "tollgate_disk_bytes": streams.runtime.metrics.DISK_BYTES,
        "tollgate_certificate_ends_timestamp_seconds": streams.runtime.metrics.CERTIFICATE_ENDS,
        "tollgate_http_requests_total": streams.runtime.metrics.HTTP_REQUESTS,
        "tollgate_decisions_total": streams.runtime.metrics.DECISIONS,
    }
    for name, wanted in labels.items():
        assert wanted <= set(metrics[name]._labelnames)


def test_what_recording_rules_are_made_of_exists() -> None:
    text = "".join(path.read_text() for path in monitoring.RULES)
    assert set(re.findall(r"\btollgate_[a-z_]+", text)) <= known_names()


def test_the_rules_of_objectives_are_those_that_the_code_makes() -> None:
    assert slo.FILE.read_text() == slo.text(), "run `python -m infra.oncall.slo`"


@pytest.mark.timeout(420)
def test_promtool_agrees(tmp_path: Path) -> None:
    assert_promtool_agrees("rules_test.yml", tmp_path)
