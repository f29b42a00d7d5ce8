"""Errors of a stack; their texts are for the person who started it."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot be started, reached or stopped; the text names the part and what to do."""

    exit_code = 3


class StackUsageError(StackError):
    """The request contradicts the existing stack."""

    exit_code = 2


class NotReady(StackError):
    """The stack runs but was not ready in time; the text says what is missing."""
