"""What can go wrong with a stack, in words for the person who started it."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot be started, reached or stopped; the text names the part and the way out."""

    exit_code = 3


class StackUsageError(StackError):
    """What was asked for contradicts what is there."""

    exit_code = 2


class NotReady(StackError):
    """The stack runs, and was not ready within the time given; the text says what is missing."""
