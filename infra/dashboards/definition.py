"""The dashboards: which panel answers which question, with its queries. Grafana and the terminal draw the same ones.

Every metric is of ``streams.runtime.metrics``, and a test asks a running stack each query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: "s" seconds, "share" 0 to 1, "reqps" a second, "bytes", "short" plain numbers
Unit = Literal["s", "share", "reqps", "bytes", "short"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression; ``legend`` may name labels as ``{{label}}``."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One diagram. ``says``: how to read it, and what to do when it looks wrong. ``stacked``: parts of a whole."""

    title: str
    unit: Unit
    says: str
    queries: Sequence[Query]
    stacked: bool = False


@dataclass(frozen=True)
class Dashboard:
    """Panels for one reader, most important first."""

    name: str
    title: str
    panels: Sequence[Panel]


def _rate(metric: str, by: str = "", where: str = "") -> str:
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}{{{where}}}[1m]))"


def _part(metric: str, where: str) -> str:
    """The share of a counter's increments that match; 0 without traffic."""
    return f"(sum(rate({metric}{{{where}}}[5m])) or vector(0)) / clamp_min(sum(rate({metric}[5m])), 1e-9)"


def _quantile(q: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[1m])))"


_DECISIONS = "tollgate_decisions_total"
_LATENCY = "tollgate_decision_latency_seconds"

_DECIDED = Panel("Decisions", "reqps", "Decisions a second, by kind. A drop to zero with traffic is DecisionsStopped.",
                 [Query(_rate(_DECISIONS, "decision"), "{{decision}}")], stacked=True)  # fmt: skip
_WAIT = Panel("Latency of decisions", "s", "From receipt to the broker's acknowledgement; the deadline is 0.1 s.",
              [Query(_quantile(q, _LATENCY), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)])  # fmt: skip
_LESS = Panel("Degraded and not scored", "share", "Share of decisions for which something was missing. Above 0.05: DecisionsDegraded.",
              [Query(_part(_DECISIONS, f'status="{status}"'), status) for status in ("degraded", "not_scored")])  # fmt: skip
_LAG = Panel("Consumer lag", "short", "Records that each group has still to read. Growing with steady traffic: ConsumerLagGrowing.",
             [Query("sum by (group) (tollgate_consumer_lag)", "{{group}}")])  # fmt: skip

DASHBOARDS: tuple[Dashboard, ...] = (
    Dashboard("overview", "Overview for the business", (
        _DECIDED,
        Panel("Share reviewed and declined", "share", "What customers feel. A jump without a change of policy is an attack, drift, or a broken producer.",
              [Query(_part(_DECISIONS, f'decision="{decision}"'), decision) for decision in ("review", "decline")]),
        Panel("Transactions by tenant", "reqps", "Accepted transactions a second.", [Query(_rate("tollgate_transactions_total", "tenant"), "{{tenant}}")], stacked=True),
        _WAIT, _LESS,
        Panel("Labels joined", "reqps", "Labels that found their decision, by what the label says and what was decided: fraud that was approved is money lost.",
              [Query(_rate("tollgate_outcomes_total", "label, decision"), "{{label}}, {{decision}}")]),
    )),
    Dashboard("oncall", "On call", (
        Panel("Processes that answer", "short", "1: answers from outside. `tollgate status` says why one does not; `tollgate restart NAME` ends a frozen one.",
              [Query("min by (process) (tollgate_process_up)", "{{process}}")]),
        _DECIDED, _WAIT, _LESS, _LAG,
        Panel("Dead letters", "reqps", "Refused records, by reason: `tollgate dead-letters list --reason REASON`.",
              [Query(_rate("tollgate_dead_letters_total", "reason"), "{{reason}}")]),
        Panel("Books", "short", "Sampled transactions without an outcome, and decisions that should not be. Above 0: `tollgate reconcile`.",
              [Query("max(tollgate_reconciliation_open)", "open"), Query("sum by (kind) (increase(tollgate_reconciliation_faults_total[5m]))", "{{kind}}")]),
        Panel("Responses of the HTTP edge", "reqps", "By status code; 503 is overload or a part that is away.", [Query(_rate("tollgate_http_requests_total", "code"), "{{code}}")], stacked=True),
        Panel("Forgeries refused", "reqps", "Records that claim to be this stack's own and are not: runbook ForgeryRefused.",
              [Query("sum(rate(tollgate_forgeries_refused_total[5m])) or vector(0)", "refused")]),
    )),
    Dashboard("model", "Model and features", (
        Panel("Versions served", "short", "Replicas by version and arm; two versions outside a rollout: a replica did not load the new one.",
              [Query("sum by (version, arm) (tollgate_model_info)", "{{version}} {{arm}}")]),
        Panel("Decisions by version", "reqps", "Decisions a second by model version.", [Query(_rate(_DECISIONS, "model_version"), "{{model_version}}")], stacked=True),
        Panel("Share declined by version", "share", "The mix of each version.",
              [Query(f'sum by (model_version) (rate({_DECISIONS}{{decision="decline"}}[5m])) / sum by (model_version) (rate({_DECISIONS}[5m]))', "{{model_version}}")]),
        Panel("Model and bundle failures", "reqps", "Batches that a model failed on, and bundles that replicas refused.",
              [Query("sum(rate(tollgate_model_failures_total[5m])) or vector(0)", "failed batches"),
               Query("sum(rate(tollgate_bundle_refused_total[5m])) or vector(0)", "refused bundles")]),
        Panel("Age of features", "s", "Clock minus event time of the newest payment that was applied, by entity.", [Query("max by (entity) (tollgate_feature_staleness_seconds)", "{{entity}}")]),
        Panel("Parity", "reqps", "Served vectors computed again, and those that differed: any is ParityBroken.",
              [Query(_rate("tollgate_parity_compared_total"), "compared"), Query(_rate("tollgate_parity_different_total"), "different")]),
        Panel("Rules that failed", "reqps", "Rules that were skipped because they failed.", [Query("sum(rate(tollgate_rule_errors_total[5m])) or vector(0)", "failed")]),
    )),
    Dashboard("drift", "Drift and retraining", (
        Panel("Test statistics", "short", "The newest statistic of the ten features that moved most: `tollgate drift` says what is confirmed.",
              [Query("topk(10, tollgate_drift_statistic)", "{{feature}} ({{detector}})")]),
        Panel("Drift rows", "reqps", "Findings a second, by severity; critical ones in three windows running ask for a model.", [Query('sum by (severity) (rate(tollgate_drift_rows_total[5m])) or vector(0)', "{{severity}}")]),
        Panel("Retraining", "short", "Requests, and runs of the trainer by result, in an hour.",
              [Query("sum(increase(tollgate_retraining_requests_total[1h])) or vector(0)", "requests"),
               Query("sum by (result) (increase(tollgate_retraining_runs_total[1h])) or vector(0)", "{{result}}")]),
        Panel("Late events", "reqps", "Transactions older than the newest of their card, and those beyond the stated bound.",
              [Query(_rate("tollgate_late_events_total"), "late"), Query(_rate("tollgate_too_late_events_total"), "too late")]),
    )),
    Dashboard("rollout", "Rollout", (
        Panel("Share of the challenger", "share", "Share of the cards that replicas have the challenger decide.", [Query("max(tollgate_challenger_share) or vector(0)", "challenger")]),
        Panel("Decisions by arm", "reqps", "Decisions a second by arm.", [Query(_rate(_DECISIONS, "arm"), "{{arm}}")], stacked=True),
        Panel("Share declined by arm", "share", "A harmful challenger shows here first: `tollgate rollout status`.",
              [Query(f'sum by (arm) (rate({_DECISIONS}{{decision="decline"}}[5m])) / sum by (arm) (rate({_DECISIONS}[5m]))', "{{arm}}")]),
        Panel("The challenger's rows", "reqps", "What became of payments that it was to decide (arm) or to score beside (shadow).",
              [Query("sum by (role, result) (rate(tollgate_challenger_rows_total[1m])) or vector(0)", "{{role}} {{result}}")]),
        Panel("Newest record", "short", "Sequence of the newest rollout record that replicas serve; they should agree.", [Query("max by (outcome) (tollgate_rollout_sequence)", "{{outcome}}")]),
    )),
    Dashboard("capacity", "Capacity", (
        Panel("Transactions and decisions", "reqps", "Input and output; a gap is a backlog.", [Query(_rate("tollgate_transactions_total"), "transactions"), Query(_rate(_DECISIONS), "decisions")]),
        _LAG,
        Panel("Seconds in a stage", "s", "p99 of the time that a chunk spends in each stage.", [Query(_quantile(0.99, "tollgate_stage_seconds", "stage"), "{{stage}}")]),
        Panel("Redis' memory", "bytes", "Used and allowed. At the limit state is not written: StoreFull.", [Query("max by (what) (tollgate_store_bytes)", "{{what}}")]),
        Panel("CPU of Python processes", "short", "Cores that each process uses.", [Query("sum by (process) (rate(process_cpu_seconds_total[1m]))", "{{process}}")], stacked=True),
        Panel("Memory of Python processes", "bytes", "Resident memory of each process.", [Query("sum by (process) (process_resident_memory_bytes)", "{{process}}")]),
        Panel("Memory of the machine", "bytes", "What is available without swapping, and all.", [Query("max by (what) (tollgate_machine_memory_bytes)", "{{what}}")]),
        Panel("Load of the machine", "short", "Processes that run or wait to; over the number of cores everything is slower.", [Query("max by (what) (tollgate_machine_load)", "{{what}}")]),
        Panel("The machine's clock", "s", "By how much it may be off: latency and staleness are measured with it.", [Query("max(tollgate_clock_max_error_seconds)", "at most")]),
        Panel("Kafka's partitions", "short", "Without a leader nothing can be written; under-replicated ones are lost with one more broker.",
              [Query("max by (state) (tollgate_kafka_partitions)", "{{state}}"), Query("max(tollgate_kafka_brokers)", "brokers")]),
        Panel("Redis' work", "short", "Connections and commands a second, as Redis counts them.",
              [Query('max by (figure) (tollgate_redis{figure=~"connected_clients|instantaneous_ops_per_sec|blocked_clients"})', "{{figure}}")]),
        Panel("Replicas", "short", "What Ray Serve has of each deployment, by state.", [Query("sum by (deployment, state) (tollgate_serve_replicas)", "{{deployment}} {{state}}")]),
        Panel("The edge's proxy", "short", "Connections that HAProxy holds, and answers a second by class: 5xx without ours is the proxy's own.",
              [Query('haproxy_frontend_current_sessions{proxy="http_frontend"}', "connections"),
               Query('sum by (code) (rate(haproxy_frontend_http_responses_total{proxy="http_frontend"}[1m]))', "{{code}}")]),
        Panel("Archive", "reqps", "Rows written to Parquet a second.", [Query(_rate("tollgate_archived_rows_total", "topic"), "{{topic}}")]),
    )),
)  # fmt: skip


def named(name: str) -> Dashboard:
    """The dashboard of a name. Raises: KeyError."""
    return {dashboard.name: dashboard for dashboard in DASHBOARDS}[name]
