"""What is wrong with a policy, in words for the person who wrote it."""

from __future__ import annotations


class PolicyError(Exception):
    """A policy does not say something that can be carried out; the text names the place."""

    #: of the command that meets it: bad input
    exit_code = 2


class RuleRefused(PolicyError):
    """One rule's expression is outside the language or does not fit the fields; the text names rule and place."""
