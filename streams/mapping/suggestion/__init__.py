"""A first mapping for a file that nobody has mapped: names and values of its columns decide, each guess says why."""

from streams.mapping.suggestion.suggest import suggest

__all__ = ["suggest"]
