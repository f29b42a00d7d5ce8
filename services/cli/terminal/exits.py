"""Errors with an exit code of their own (3: a part cannot be reached)."""

from __future__ import annotations

import click


class Unreachable(click.ClickException):
    """The store or the broker does not answer."""

    exit_code = 3
