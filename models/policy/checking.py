"""Everything that is wrong in a policy file: what cannot be carried out, and what would never or always apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from features.attributes import Attributes
from models.policy.field_values import fault, quoted
from models.policy.lists import Networks, PolicyList, Values, activate, add_entry
from models.policy.policy import Policy
from models.policy.policy_file import PolicyFile, Thresholds
from models.policy.problems import bounded, error_of
from models.policy.rules.attributes import attribute_errors
from models.policy.rules.checking import rule_errors
from models.policy.rules.rule import check_number
from models.policy.thresholds import ExpectedLoss, ScoreDecision

#: returns the first card number in a text, or None
FindCardNumber = Callable[[str], str | None]


def problems(
    file: PolicyFile, find_card_number: FindCardNumber, attributes: Attributes | None = None
) -> list[str]:
    """All errors in a file, one per line; empty if it is valid. Show them ``without_card_numbers``.

    Args:
        attributes: those that the stack declares; None: not known here, so that those in the file are not compared with them.
    """
    out = [
        f"{place} holds a card number: use the token that transactions carry instead"
        for place, text in _texts(file) if find_card_number(text)
    ]  # fmt: skip
    for rule in file.rules:
        out += rule_errors(rule)
        out += _tenant_errors(f"rule {rule.name}", rule.tenants)
    if attributes is not None:
        out += attribute_errors(file.rules, file.lists, attributes)
    in_lists = [error for found in file.lists for error in _list_errors(found)]
    out += in_lists
    if file.thresholds is not None:
        out += _threshold_errors(file.thresholds)
    if file.expected_loss is not None:
        out += _loss_errors(file.expected_loss)
    blank = Policy(version="0", review=0.5, decline=0.5)
    # names that occur twice, and limits on the number of rules and entries
    whole: list[Callable[[], object]] = [
        lambda: file.applied_to(blank, "0"),
        lambda: check_number(file.rules),
    ]
    if not in_lists:
        whole.append(lambda: activate(file.lists))
    out += [error for check in whole if (error := error_of(check))]
    return list(dict.fromkeys(out))


def without_card_numbers(errors: list[str], find_card_number: FindCardNumber) -> list[str]:
    """Errors to show: those that quote a card number are replaced by one that does not."""
    shown = [error for error in errors if not find_card_number(error)]
    if len(shown) < len(errors):
        shown.append(
            "the file holds a card number, which is not allowed: use the token that transactions carry instead"
        )
    return shown


def warnings(file: PolicyFile) -> list[str]:
    """What is valid and still has no effect: empty lists, and allowed values that are blocked too."""
    out = [f"list {found.name} has no entries, so it matches nothing" for found in file.lists if not found.entries]  # fmt: skip
    blocked = {(found.field, entry.value): found.name for found in file.lists if found.kind == "block" for entry in found.entries}  # fmt: skip
    for found in file.lists:
        both = [entry.value for entry in found.entries if found.kind == "allow" and (found.field, entry.value) in blocked]  # fmt: skip
        out += bounded(
            f"list {found.name}",
            [f"list {found.name}: {value} is also on block list {blocked[found.field, value]}, which decides" for value in both],
        )  # fmt: skip
    return out


def _list_errors(found: PolicyList) -> list[str]:
    place = f"list {found.name}"
    values: Values = {}
    networks: Networks = {}
    out = []
    for entry in found.entries:
        error = _value_error(place, found.field, entry.value)
        error = error or error_of(lambda entry=entry: add_entry(found, entry, values, networks))  # type: ignore[misc]
        out += [error] if error else []
    return [*bounded(place, out), *_tenant_errors(place, found.tenants)]


def _value_error(place: str, field: str, value: str) -> str | None:
    """What is wrong with a list's value; ranges and addresses are checked by ``add_entry``."""
    why = fault(field, value) if field != "ip" else None
    return f"{place}: {quoted(value)} is not what a transaction carries: {why}" if why else None


def _threshold_errors(given: Thresholds) -> Iterator[str]:
    checks = [lambda: ScoreDecision(given.review, given.decline, (), None)]
    checks += [lambda each=each: ScoreDecision(0, 1, (each,), None) for each in given.by]  # type: ignore[misc]
    checks.append(lambda: ScoreDecision(given.review, given.decline, given.by, None))
    yield from (error for check in checks if (error := error_of(check)))
    for each in given.by:
        yield from _tenant_errors("thresholds", [each.tenant] if each.tenant is not None else [])


def _loss_errors(loss: ExpectedLoss) -> Iterator[str]:
    for place, code in [("currency", loss.currency), *(("rates", code) for code in loss.rates)]:
        why = fault("currency", code)
        if why:
            yield f"expected_loss: {quoted(code)} in `{place}` never matches: {why}"
    if loss.currency in loss.rates:
        yield f"expected_loss: `rates` has {loss.currency}, in which the costs themselves are: remove it"
    yield from _tenant_errors("expected_loss", loss.tenants)


def _tenant_errors(place: str, tenants: Iterable[str]) -> list[str]:
    named = list(tenants)
    out = [
        f"{place}: tenant {quoted(name)} never matches: {why}"
        for name in named
        if (why := fault("tenant", name))
    ]
    return out + [
        f"{place}: tenant {quoted(name)} is given twice"
        for name in sorted({n for n in named if named.count(n) > 1})
    ]


def _texts(file: PolicyFile) -> Iterator[tuple[str, str]]:
    for rule in file.rules:
        yield f"rule {rule.name}", f"{rule.name}   {rule.when}   {rule.reason}   {rule.owner}"
    for found in file.lists:
        yield f"list {found.name}", f"{found.name}   {found.reason}   {found.owner}"
        for number, entry in enumerate(found.entries, 1):
            yield (
                f"list {found.name}, entry {number}",
                f"{entry.value}   {entry.reason}   {entry.owner or ''}",
            )
