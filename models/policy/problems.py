"""Errors in a policy, explained for the person who wrote it."""

from __future__ import annotations


class PolicyError(Exception):
    """A policy is invalid; the text names the place."""

    #: exit code of commands that fail with it: bad input
    exit_code = 2


class RuleRefused(PolicyError):
    """A rule's condition is outside the language or does not fit the fields; the text names rule and place."""
