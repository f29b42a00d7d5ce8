"""Service level objectives, and the rules that page while their error budget burns.

``python -m infra.oncall.slo`` writes ``infra/prometheus/slo.yml``. The method is that of multi-window, multi-burn-rate alerts (Google, The Site
Reliability Workbook, chapter 5): the budget burns so many times too fast over a long window, and over a short one, so that the alert
ends soon after its cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "prometheus" / "slo.yml"
#: windows by how often they are computed
SHORT, LONG = ("5m", "30m", "1h"), ("2h", "6h", "1d", "3d")
SHORT_EVERY, LONG_EVERY = "15s", "1m"
#: with fewer events than this window allows one bad one of, a single failure would page
VOLUME = {"page": "1h", "ticket": "1d"}
#: a window counts once it is half full: the first minutes of a new stack are no month
HALF = {"1h": "30m", "6h": "3h", "1d": "12h", "3d": "36h"}


@dataclass(frozen=True)
class Slo:
    """One objective. ``objective``: the share of events that must be good; ``bad``: the share that is not, within the window ``{w}``;
    ``events``: the counter of all.
    """

    name: str
    alert: str
    objective: float
    bad: str
    events: str
    promise: str

    @property
    def budget(self) -> float:
        return 1.0 - self.objective


@dataclass(frozen=True)
class Burn:
    """Alert if the budget burns ``rate`` times too fast over both windows."""

    severity: str
    rate: float
    short: str
    long: str


BURNS = (
    Burn("page", 14.4, "5m", "1h"),
    Burn("page", 6, "30m", "6h"),
    Burn("ticket", 3, "2h", "1d"),
    Burn("ticket", 1, "6h", "3d"),
)
SLOS = (
    Slo(
        "latency", "SloBurnLatency", 0.999,
        '1 - sum(rate(tollgate_decision_latency_seconds_bucket{{le="0.1"}}[{w}])) / sum(rate(tollgate_decision_latency_seconds_count[{w}]))',
        "tollgate_decision_latency_seconds_count",
        "99.9 % of decisions within 100 ms",
    ),
    Slo(
        "decided", "SloBurnDecided", 0.9999,
        '(sum(rate(tollgate_decisions_total{{status="not_scored"}}[{w}])) or vector(0)) / sum(rate(tollgate_decisions_total[{w}]))',
        "tollgate_decisions_total",
        "99.99 % of transactions decided by a model or by rules, not by the fallback",
    ),
    Slo(
        "freshness", "SloBurnFreshness", 0.99,
        "avg_over_time(tollgate:features_stale:now[{w}])",
        "tollgate_transactions_total",
        "features fresher than 2 s for 99 % of the time in which transactions come",
    ),
    Slo(
        "http", "SloBurnHttp", 0.999,
        '(sum(rate(tollgate_http_requests_total{{route=~"/v1/.*",code=~"5.."}}[{w}])) or vector(0))'
        ' / sum(rate(tollgate_http_requests_total{{route=~"/v1/.*"}}[{w}]))',
        'tollgate_http_requests_total{route=~"/v1/.*"}',
        "99.9 % of HTTP requests answered without a server's error",
    ),
)  # fmt: skip
#: 1 while the state is over 2 s behind; no value without transactions, and times over six hours old are a replay's
STALE = (
    "(max(tollgate_feature_staleness_seconds < 21600) > bool 2)"
    " and on () sum(rate(tollgate_transactions_total[1m])) > 0"
)


def rules() -> dict[str, Any]:
    """The content of the rules file."""
    return {
        "groups": [
            {
                "name": "slo-short",
                "interval": SHORT_EVERY,
                "rules": [
                    {"record": "tollgate:features_stale:now", "expr": STALE},
                    *_ratios(SHORT),
                    *_events(VOLUME["page"]),
                ],
            },
            {
                "name": "slo-long",
                "interval": LONG_EVERY,
                "rules": [*_ratios(LONG), *_events(VOLUME["ticket"])],
            },
            {
                "name": "slo-alerts",
                "interval": SHORT_EVERY,
                "rules": [_alert(slo, severity) for slo in SLOS for severity in ("page", "ticket")],
            },
        ]
    }


def _ratios(windows: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "record": f"tollgate:slo_errors:ratio_rate{window}",
            "expr": slo.bad.format(w=window),
            "labels": {"slo": slo.name},
        }
        for slo in SLOS
        for window in windows
    ]


def _events(window: str) -> list[dict[str, Any]]:
    return [
        {
            "record": f"tollgate:slo_events:increase{window}",
            "expr": f"sum(increase({slo.events}[{window}]))",
            "labels": {"slo": slo.name},
        }
        for slo in SLOS
    ]


def _alert(slo: Slo, severity: str) -> dict[str, Any]:
    burns = [burn for burn in BURNS if burn.severity == severity]
    rates = " or ".join(f"{burn.rate:g} times over {burn.long}" for burn in burns)
    return {
        "alert": slo.alert,
        "expr": " or ".join(_burning(slo, burn) for burn in burns),
        "labels": {"severity": severity},
        "annotations": {
            "summary": f"The error budget burns too fast ({{{{ $value | humanizePercentage }}}} bad): {slo.promise}",
            "description": f"It burns more than {rates} as fast as it may. `tollgate doctor --live` names what is wrong now.",
            "runbook_url": f"infra/runbooks/{slo.alert}.md",
        },
    }  # fmt: skip


def _burning(slo: Slo, burn: Burn) -> str:
    def ratio(window: str) -> str:
        return f'tollgate:slo_errors:ratio_rate{window}{{slo="{slo.name}"}}'

    limit = f"{burn.rate * slo.budget:g}"
    filled = f"{ratio(burn.long)} offset {HALF[burn.long]}"
    enough = (
        f'tollgate:slo_events:increase{VOLUME[burn.severity]}{{slo="{slo.name}"}} > {round(1 / slo.budget)}'
    )
    return f"({ratio(burn.short)} > {limit} and {ratio(burn.long)} > {limit} and {filled} and {enough})"


def text() -> str:
    """The rules file."""
    head = "# Made by `python -m infra.oncall.slo`: objectives and burn rates stand there, and changes belong there.\n"
    return head + yaml.safe_dump(rules(), sort_keys=False, width=160, allow_unicode=True)


if __name__ == "__main__":
    FILE.write_text(text())
