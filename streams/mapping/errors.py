"""What can be wrong with a mapping or its file. The text names the place and what would fit."""

from __future__ import annotations


class MappingError(Exception):
    """A mapping is invalid or does not fit its file."""

    exit_code = 2


class NoRowFits(MappingError):
    """The mapping and the file could be read, but no row became a transaction; the text says the commonest reasons."""

    exit_code = 1
