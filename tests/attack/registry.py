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


def attack(name: str) -> Callable[[Attack], Attack]:
    """Register a function as the attack ``name``.

    Raises:
        ValueError: another attack has that name.
    """

    def register(function: Attack) -> Attack:
        if name in _registered:
            raise ValueError(f"two attacks are called {name!r}")
        _registered[name] = function
        return function

    return register


def attacks() -> dict[str, Attack]:
    """Every attack of this package by its name, in alphabetical order."""
    for module in pkgutil.iter_modules(tests.attack.__path__):
        if not module.name.startswith(("_", "test_")):
            import_module(f"{tests.attack.__name__}.{module.name}")
    return dict(sorted(_registered.items()))
