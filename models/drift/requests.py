"""From findings to alarms and requests for a new model: what must hold, how often it may be asked. Pure: time is a parameter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.drift.statistics import Severity

_ORDER: tuple[Severity, ...] = ("none", "warning", "critical")


@dataclass(frozen=True)
class RetrainingPolicy:
    """A finding counts when ``confirm_rounds`` windows in a row had it; a critical one asks for a model, once per cooldown."""

    confirm_rounds: int = 3
    cooldown_s: float = 3600.0
    #: length of the requested history, which ends with the window that drifted
    training_span_s: float = 60 * 86400.0
    remembered_keys: int = 200


@dataclass(frozen=True)
class Confirmations:
    """The severities of the newest windows, per finding, oldest first."""

    rounds: int
    newest: Mapping[str, tuple[Severity, ...]] = field(default_factory=dict)

    def after(self, found: Mapping[str, Severity]) -> Confirmations:
        """After one more window. A finding that it did not test starts anew."""
        newest = {name: (*self.newest.get(name, ()), said)[-self.rounds :] for name, said in found.items()}
        return Confirmations(self.rounds, newest)

    def confirmed(self, name: str) -> Severity:
        """The severity that all of the last ``rounds`` windows had, at least."""
        said = self.newest.get(name, ())
        if len(said) < self.rounds:
            return "none"
        return _ORDER[min(map(_ORDER.index, said))]


def request_key(model: str, model_version: str, findings: Iterable[str]) -> str:
    """One key per model version and set of findings, so that the same drift makes one request."""
    digest = hashlib.sha256("\n".join(sorted(set(findings))).encode()).hexdigest()[:12]
    return f"drift:{model}:{model_version}:{digest}"


def may_ask(asked: Mapping[str, float], policy: RetrainingPolicy, model: str, now_s: float) -> bool:
    """Whether the cooldown since the newest request for this model is over at ``now_s``.

    Args:
        asked: dedupe key of each request to when it was made, seconds since 1970.
    """
    recent = [at for key, at in asked.items() if key.startswith(f"drift:{model}:")]
    return not recent or now_s - max(recent) >= policy.cooldown_s


def remember_request(
    asked: Mapping[str, float], policy: RetrainingPolicy, key: str, now_s: float
) -> dict[str, float]:
    """The requests after one was acknowledged; only the newest ``remembered_keys`` are kept."""
    newest = sorted({**asked, key: now_s}.items(), key=lambda item: item[1])
    return dict(newest[-policy.remembered_keys :])
