"""The attacks by name. Every module of this package registers its own when it is imported."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import tests.attack
from streams.runtime.settings import Settings


@dataclass(frozen=True)
class Finding:
    """What an attack came to. ``held``: the system did what it must; ``text``: what was seen, one line."""

    held: bool
    text: str


Attack = Callable[[Settings], Finding]
_registered: dict[str, Attack] = {}
_by_the_books: set[str] = set()


def attack(name: str, *, by_the_books: bool = False) -> Callable[[Attack], Attack]:
    """Register a function as the attack ``name``. ``by_the_books``: its verdict is that they balance, so it comes before all that forge records,
    whose decisions of payments that never were stand in them.

    Raises:
        ValueError: another attack has that name.
    """

    def register(function: Attack) -> Attack:
        if name in _registered:
            raise ValueError(f"two attacks are called {name!r}")
        _registered[name] = function
        if by_the_books:
            _by_the_books.add(name)
        return function

    return register


def attacks() -> dict[str, Attack]:
    """Every attack of this package by its name: those by the books first, then in alphabetical order."""
    for module in pkgutil.iter_modules(tests.attack.__path__):
        if not module.name.startswith(("_", "test_")):
            import_module(f"{tests.attack.__name__}.{module.name}")
    return dict(sorted(_registered.items(), key=lambda one: (one[0] not in _by_the_books, one[0])))
