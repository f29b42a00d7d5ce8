"""Every metric: name, kind, unit, labels, meaning. Dashboards and alert rules are checked against this table."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Sequence

from streams.runtime.bounded_metrics import Counter, Gauge, Histogram, TenantCounter

#: seconds; finest around the 100 ms deadline
LATENCY_BUCKETS = (
    0.002,
    0.005,
    0.01,
    0.015,
    0.02,
    0.03,
    0.04,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1,
    2.5,
    10,
    60,
)

TRANSACTIONS = TenantCounter(
    "tollgate_transactions_total",
    "Transactions accepted by the processor; of many tenants the later ones together",
    ["tenant"],
)
DECISIONS = Counter(
    "tollgate_decisions_total",
    "Decisions acknowledged by the broker",
    ["status", "decision", "arm", "model_version"],
)
DEAD_LETTERS_TOTAL = Counter(
    "tollgate_dead_letters_total", "Records refused, by topic and reason", ["topic", "reason"]
)
SET_ASIDE = Counter(
    "tollgate_records_set_aside_total",
    "Records that a worker did not handle, and kept as dead letters: nobody can read them, they have ended it three times, or a"
    " person skipped them",
    ["topic", "reason"],
)
PASSED_OVER = Counter(
    "tollgate_records_passed_over_total",
    "Records that a reader could not use and left out without a dead letter, by topic and reason",
    ["topic", "reason"],
)
DECISION_LATENCY = Histogram(
    "tollgate_decision_latency_seconds",
    "From receipt (append on `transactions`, or the HTTP request) to the broker's acknowledgement of the decision",
    buckets=LATENCY_BUCKETS,
)
CONSUMER_LAG = Gauge(
    "tollgate_consumer_lag",
    "Records that a group has not committed: the partition's end less the committed offset, asked of the broker by oncall",
    ["group", "topic", "partition"],
)
PROCESS_UP = Gauge(
    "tollgate_process_up",
    "1 while a process of the stack answers, 0 while it does not, as oncall sees it; no value while it starts",
    ["process"],
)
STOOD_STILL = Counter(
    "tollgate_processes_stood_still_total",
    "Processes that lived without a heartbeat for 30 s, and were ended to be started again; counted by oncall",
    ["process"],
)
LOG_END = Gauge(
    "tollgate_log_end_offset", "The end of a partition, asked of the broker by oncall", ["topic", "partition"]
)
LOG_QUIET = Gauge(
    "tollgate_log_quiet_seconds",
    "For how long nothing has been appended to a topic (`now`), and how long the last silence took that ended (`last`)",
    ["topic", "which"],
)
DISK_BYTES = Gauge(
    "tollgate_disk_bytes",
    "Space of the disks that the stack writes to (`home`, `temporary`): `free` and `size`",
    ["folder", "what"],
)
KAFKA_BROKERS = Gauge(
    "tollgate_kafka_brokers", "Brokers of the cluster that are there (`up`), asked by oncall", ["state"]
)
KAFKA_PARTITIONS = Gauge(
    "tollgate_kafka_partitions",
    "Partitions of all topics: `all`, `leaderless` (nothing can be written), `under_replicated` (fewer copies than they should have)",
    ["state"],
)
REDIS_FIGURES = Gauge(
    "tollgate_redis", "Fields of Redis' INFO that are numbers, in its units, asked by oncall", ["figure"]
)
MACHINE_MEMORY = Gauge(
    "tollgate_machine_memory_bytes",
    "Memory of the machine: `available` without swapping, and `size`",
    ["what"],
)
MACHINE_LOAD = Gauge(
    "tollgate_machine_load", "Processes that run or wait to, over a minute (`load`), and `cores`", ["what"]
)
CLOCK_SYNCHRONISED = Gauge(
    "tollgate_clock_synchronised", "1 while something keeps the machine's clock right, as the kernel has it"
)
CLOCK_ERROR = Gauge(
    "tollgate_clock_max_error_seconds", "By how much the machine's clock may be off, as the kernel has it"
)
SERVE_REPLICAS = Gauge(
    "tollgate_serve_replicas",
    "Replicas that Ray Serve has of a deployment, by their state (RUNNING, STARTING, ...)",
    ["deployment", "state"],
)
CERTIFICATE_ENDS = Gauge(
    "tollgate_certificate_ends_timestamp_seconds",
    "When the certificate ends that a server (`kafka`, `redis`) shows its clients, or that of the stack's own `authority`; seconds since"
    " 1970. No value without TLS",
    ["certificate"],
)
MODELS_AWAITING = Gauge("tollgate_models_awaiting_approval", "Versions that wait for a person's approval")
MODEL_TRAINED = Gauge(
    "tollgate_model_trained_timestamp_seconds",
    "When the live model was trained, seconds since 1970",
    ["model"],
)
FEATURE_STALENESS = Gauge(
    "tollgate_feature_staleness_seconds",
    "Age of the newest payment applied to entities of a kind, at the moment it was applied (clock minus event time)",
    ["entity"],
)
DRIFT_STATISTIC = Gauge("tollgate_drift_statistic", "Latest test statistic", ["detector", "feature"])
MODEL_INFO = Gauge("tollgate_model_info", "1 for the bundle that an arm serves", ["version", "arm"])
CHALLENGER_SHARE = Gauge(
    "tollgate_challenger_share", "Share of the cards that this replica has the challenger of a rollout decide"
)
EXPLORED = Counter(
    "tollgate_explored_total",
    "Payments that a score declines, by what exploration made of them: let through (to review or approval), declined, or over the cap"
    " (they cost more than has accrued of the day's)",
    ["result"],
)
CHALLENGER_ROWS = Counter(
    "tollgate_challenger_rows_total",
    "Payments that a rollout's challenger was to decide (arm) or to score beside the champion (shadow), by what became of it: scored;"
    " in its arm failed, late or unfit (the champion decided); in the shadow failed, dropped (it was behind) or unsent (the broker was)",
    ["role", "result"],
)
RECONCILED = Counter(
    "tollgate_reconciled_total",
    "Sampled transactions of the log whose outcome was found: a decision, a dead letter, or an earlier decision of the same identity",
)
RECONCILIATION_OPEN = Gauge(
    "tollgate_reconciliation_open", "Sampled transactions, over half a minute old, that have no outcome"
)
RECONCILIATION_FAULTS = Counter(
    "tollgate_reconciliation_faults_total",
    "Sampled decisions that should not be: a second one of a transaction (duplicated), or of no transaction of the log (unknown)",
    ["kind"],
)
LOGS_LOST = Counter(
    "tollgate_logs_lost_total",
    "Times that a partition was found to hold other records than were read: its end was cut off, or the topic made again",
    ["topic"],
)
CONSOLE_BEHIND = Gauge(
    "tollgate_console_behind_records", "Records of `decisions` that the console has not taken yet"
)
CONSOLE_GLASS = Counter(
    "tollgate_console_break_glass_total", "Times that somebody at the console took rights beyond their role"
)
FORWARDED = Counter(
    "tollgate_forwarded_total",
    "Records found on the wrong partition for their card and sent to the right one",
)
FORGERIES = Counter(
    "tollgate_forgeries_refused_total",
    "What claims to be this stack's own or a known person's and is not: headers of `transactions` (their payments were decided"
    " without them), records of other topics (they were not taken)",
    ["what", "reason"],
)
HEADERS_IGNORED = Counter(
    "tollgate_headers_ignored_total",
    "Headers of `transactions` out of bounds; their payments were decided without them",
    ["header"],
)
DUPLICATES = Counter(
    "tollgate_duplicates_total", "Records dropped because they had been handled before", ["stage"]
)
DECIDED_SUSPECTED_DUPLICATES = Counter(
    "tollgate_decided_suspected_duplicates_total",
    "Transactions with the time and amount of an older payment of their card but another id: decided, but not applied to the"
    " card's state again",
)
LABELS = Counter(
    "tollgate_labels_total",
    "Labels that parse, by source and what became of them: joined with their decision, waiting for it, outdated by a newer one of the"
    " same payment, refused because they are about another payment or too many wait",
    ["source", "result"],
)
UNKNOWN_FIELDS = Counter(
    "tollgate_unknown_fields_total", "Fields of transactions that the contract does not know"
)
UNDECLARED_ATTRIBUTES = Counter(
    "tollgate_undeclared_attributes_total",
    "Attributes of transactions that settings do not declare for their tenant: ignored",
)
PARITY_COMPARED = Counter(
    "tollgate_parity_compared_total",
    "Served vectors computed again: for one card in 64 the 54 entries of its own payments, and for at most 64 transactions a "
    "minute the 134 entries of all entities, frauds and declines (10 of them of the transaction itself)",
)
PARITY_DIFFERENT = Counter(
    "tollgate_parity_different_total", "Vectors compared that were not identical to the bit"
)
PARITY_ENTITIES = Counter(
    "tollgate_parity_entities_total",
    "Vectors computed again in which entries of this entity were compared; card: its frauds and declines",
    ["entity"],
)
PARITY_SKIPPED = Counter(
    "tollgate_parity_skipped_total",
    "Transactions not compared, because the store or the broker did not give what the comparison needs",
)
STATE_REBUILDING = Gauge(
    "tollgate_state_rebuilding",
    "1 while decisions are made without state, because it is lost or being rebuilt",
)
STORE_FULL = Gauge(
    "tollgate_store_full",
    "1 while Redis has no room for a processor's state: decisions go on, state is written once there is room",
)
STORE_BYTES = Gauge("tollgate_store_bytes", "Memory that Redis uses (`used`) and may use (`limit`)", ["what"])
LATE_EVENTS = Counter("tollgate_late_events_total", "Transactions older than the newest one of their card")
TOO_LATE_EVENTS = Counter(
    "tollgate_too_late_events_total",
    "Late transactions that are behind by more than the stated bound (24 h): processed and marked",
)
VECTORS_CONVERTED = Counter(
    "tollgate_vectors_converted_total",
    "Feature vectors of another catalogue converted to this code's columns",
    ["catalogue"],
)
STAGE_SECONDS = Histogram(
    "tollgate_stage_seconds", "Seconds that a chunk spends in one stage", ["stage"], buckets=LATENCY_BUCKETS
)
OUTCOMES = Counter("tollgate_outcomes_total", "Decisions joined with their label", ["label", "decision"])
MODEL_FAILURES = Counter(
    "tollgate_model_failures_total",
    "Batches for which a model failed, so that only its bundle's rules decided",
)
ROLLOUT_SEQUENCE = Gauge(
    "tollgate_rollout_sequence",
    "Newest sequence number of `rollouts` whose bundle this replica serves, or has refused",
    ["outcome"],
)
MODEL_UNREVIEWED = Gauge(
    "tollgate_model_unreviewed", "1 while the served bundle was approved by nobody but who proposed it"
)
ROLLOUT_SHARE = Gauge("tollgate_rollout_share", "Share of the cards that the challenger has, 0 to 1")
ROLLOUT_CHECK = Gauge(
    "tollgate_rollout_check", "A guard of the rollout under way: its estimate and bounds", ["check", "bound"]
)
ROLLOUT_PAUSED = Gauge(
    "tollgate_rollout_paused", "1 while a rollout stands still, by reason", ["version", "reason"]
)
ROLLOUT_ROLLED_BACK = Gauge(
    "tollgate_rollout_rolled_back",
    "The estimate that broke a guard, for an hour after a rollout was undone by itself, with its bounds and limit",
    ["version", "check", "bounds", "limit"],
)
BUNDLE_REFUSED = Counter(
    "tollgate_bundle_refused_total", "Bundles that a replica refused to serve", ["reason"]
)
DRIFT_ROWS = Counter(
    "tollgate_drift_rows_total", "Rows emitted on `drift`, by severity and detector", ["severity", "detector"]
)
RETRAINING_REQUESTS = Counter(
    "tollgate_retraining_requests_total", "Events emitted on `retraining`", ["reason"]
)
RULE_ERRORS = Counter("tollgate_rule_errors_total", "Rules that failed and were skipped", ["rule"])
RETRAINING_RUNS = Counter("tollgate_retraining_runs_total", "Runs of the trainer by result", ["result"])
PERFORMANCE = Gauge(
    "tollgate_performance",
    "Figures of matured decisions of six weeks, of all and by model version, tenant and channel: precision, recall, calibration (frauds"
    " per fraud predicted), false alarms per fraud stopped, share reviewed, label coverage, open decisions",
    ["by", "group", "figure"],
)
PERFORMANCE_MONEY = Gauge(
    "tollgate_performance_money_minor",
    "Money of matured decisions of six weeks in minor units of each currency: fraud caught, fraud lost, honest payments stopped",
    ["currency", "what"],
)
PERFORMANCE_DROP = Gauge(
    "tollgate_performance_drop",
    "How much worse a figure is in the newest matured week than in the four weeks before, relative, with its interval",
    ["figure", "bound"],
)
ARCHIVED_ROWS = Counter("tollgate_archived_rows_total", "Rows written to Parquet", ["topic"])
HTTP_REQUESTS = Counter("tollgate_http_requests_total", "Responses of the HTTP edge", ["route", "code"])


def observe_many(histogram: Histogram, values: Sequence[float]) -> None:
    """``histogram.observe`` of many values, at a sixth of the cost. For histograms without labels."""
    counts = Counts(bisect_left(histogram._upper_bounds, value) for value in values)
    histogram._sum.inc(sum(values))
    for bucket, count in counts.items():
        histogram._buckets[bucket].inc(count)
