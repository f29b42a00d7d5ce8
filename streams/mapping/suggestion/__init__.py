"""A first mapping for a file that nobody has mapped: names and values of its columns decide, each guess says why."""

from streams.mapping.suggestion.suggest import TO_FILL_IN, suggest

__all__ = ["TO_FILL_IN", "suggest"]
