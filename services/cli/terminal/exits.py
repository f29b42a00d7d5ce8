"""Errors of commands, by their exit code."""

from __future__ import annotations

import click


class CheckFailed(click.ClickException):
    """The command ran: what it checks does not hold, or there is nothing to show."""

    exit_code = 1


class BadInput(click.ClickException):
    """Invalid input from the user."""

    exit_code = 2


class Unreachable(click.ClickException):
    """The store, the broker or another part does not answer."""

    exit_code = 3
