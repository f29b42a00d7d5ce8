"""Errors in a policy, explained for the person who wrote it."""

from __future__ import annotations

from collections.abc import Callable

#: errors of one kind that are named one by one; the others are counted
MAX_NAMED = 100


class PolicyError(Exception):
    """A policy is invalid; the text names the place."""

    #: exit code of commands that fail with it: bad input
    exit_code = 2


class RuleRefused(PolicyError):
    """A rule's condition is outside the language or does not fit the fields; the text names rule and place."""


def error_of(check: Callable[[], object]) -> str | None:
    """The text of the ``PolicyError`` that a check raises; None if it passes."""
    try:
        check()
    except PolicyError as error:
        return str(error)
    return None


def bounded(place: str, errors: list[str]) -> list[str]:
    """At most ``MAX_NAMED`` of the errors of one place, and how many more there are."""
    more = len(errors) - MAX_NAMED
    return errors if more <= 0 else [*errors[:MAX_NAMED], f"{place}: {more:,} more errors"]
