"""One decision as text: what was decided and why, the payment, what matched, and the features by entity."""

from __future__ import annotations

from typing import Any

from features.attributes import PREFIX
from features.catalogue import FEATURES
from features.currencies import amount_text, money_text
from features.feature import MINOR_UNITS, Feature

_FIRST = ("amount", "card_id", "merchant_id")


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer of ``tollgate decisions show --json`` as lines."""
    decision = answer["decision"]
    score = decision.get("score")
    out = [f"{decision['transaction_id']}: {decision['decision']}, {decision['status']}, {f'score {score:.4f}' if score is not None else 'no score'}"]  # fmt: skip
    if answer["thresholds"]:
        out[0] += " (review from {review:.4f}, decline from {decline:.4f})".format(**answer["thresholds"])
    reasons = [f"{reason['text']}{_pushed(reason)}" for reason in decision.get("reasons", ())]
    out += _block("because", reasons or ["nothing stood out"])
    out += _block("missing", list(decision.get("degraded_by", ())))
    out += _block("matched", [_matched(each) for each in answer["matched"]])
    out += _block("payment", _payment(answer["transaction"] or {}))
    names = (
        "model",
        "model_version",
        "policy_version",
        "arm",
        "tenant",
        "event_time",
        "received_at",
        "decided_at",
        "latency_ms",
    )
    out += _block(
        "decided", [f"{name.replace('_', ' ')}: {decision[name]}" for name in names if name in decision]
    )
    beside = decision.get("shadow") or {}
    out += _block("in the shadow", [f"{version} scores {beside[version]:.4f}" for version in beside])
    return out + _features(answer["features"], (answer["transaction"] or {}).get("currency"))


def _pushed(reason: dict[str, Any]) -> str:
    contribution = reason.get("contribution")
    return "" if contribution is None else f"  ({contribution:+.2f} log-odds)"


def _matched(each: dict[str, Any]) -> str:
    values = ", ".join(f"{name} = {shown(value)}" for name, value in each["values"].items())
    kind = each.get("kind", "not in this version of the policy")
    when = f": {each['when']}" if "when" in each else ""
    return f"{each['name']} ({kind}){when}" + (f"   [{values}]" if values else "")


def _payment(transaction: dict[str, Any]) -> list[str]:
    own = {f"{PREFIX}{name}": value for name, value in (transaction.get("attributes") or {}).items()}
    transaction = {name: value for name, value in transaction.items() if name != "attributes"} | own
    if "amount_minor" in transaction and "currency" in transaction:
        paid = money_text(transaction.pop("amount_minor"), transaction.pop("currency"))
        transaction["amount"] = paid
    names = [
        *(name for name in _FIRST if name in transaction),
        *(name for name in transaction if name not in _FIRST),
    ]
    return [f"{name if name in own else name.replace('_', ' ')}: {shown(transaction[name])}" for name in names if name not in ("transaction_id", "event_time", "tenant")]  # fmt: skip


def _features(values: dict[str, float | None] | None, currency: str | None) -> list[str]:
    if values is None:
        return ["features  not found: neither the log of `features` nor the archive holds them"]
    out = []
    for entity in dict.fromkeys(feature.entity for feature in FEATURES):
        named = {feature: values.get(feature.name) for feature in FEATURES if feature.entity == entity}
        known = [_known(feature, value, currency) for feature, value in named.items() if value is not None]
        unknown = f"{len(named) - len(known)} unknown" if known else "all unknown"
        out += _block(
            f"features of the {entity}" if entity != "transaction" else "features of the payment", known
        )
        if len(known) < len(named):
            out += [f"  {unknown}"] if known else [f"features of the {entity}: {unknown}"]
    return out


def _known(feature: Feature, value: float, currency: str | None) -> str:
    """Its value as rules compare it; money also as people read it. What was paid before may have been in other currencies."""
    text = f"{feature.name} {shown(value)}"
    if feature.unit != MINOR_UNITS or currency is None:
        return text
    if feature.source == "transaction":
        return f"{text} ({money_text(value, currency, single=True)})"
    return f"{text} ({amount_text(value, currency, single=True)} if all was {currency})"


def shown(value: Any) -> str:
    """A value for people: numbers without exponent, in single precision as served; texts as they are."""
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:.7g}"
    return str(value)


def _block(name: str, texts: list[str]) -> list[str]:
    return [name, *(f"  {text}" for text in texts)] if texts else []
