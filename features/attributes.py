"""Attributes of one's own: fields of a transaction that the stack's settings declare, each a number or a text. Pure.

``settings.toml`` in the stack's folder, for example:

    [attributes.loyalty_tier]
    type = "text"
    meaning = "tier in the loyalty programme"

    [attributes.basket_items]
    type = "number"
    unit = "articles"
    tenants = ["shop-a"]                # left out: every tenant may send it

    [attributes.age_band]
    type = "text"
    use = "fairness"                    # no input of a model: false alarms and recall are compared between its values

A transaction then carries ``"attributes": {"loyalty_tier": "gold", "basket_items": 7}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from features.identifiers import canonical_id

#: attributes of a stack, and entries of a transaction's ``attributes``
MAX_ATTRIBUTES = 32
#: numbers lie between -1e15 and 1e15: whole ones are exact, and rules know no larger ones
NUMBER_LIMIT = 10**15
#: what rules, lists and the model's columns call an attribute begins with it
PREFIX = "attributes."

Kind = Literal["number", "text"]
Use = Literal["model", "fairness"]
ATTRIBUTE_NAME = re.compile(r"^[a-z][a-z0-9_]{0,31}$")
AttributeName = Annotated[str, Meta(pattern=ATTRIBUTE_NAME.pattern)]
Words = Annotated[str, Meta(max_length=120)]


class Attribute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One declared attribute. ``tenants``: who may send it; empty: everybody. ``use``: an input of models, or, of ``fairness``, a group of
    customers that a model must treat as the others without knowing of it."""

    type: Kind
    unit: Words = ""
    meaning: Words = ""
    tenants: tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...] = ()
    use: Use = "model"

    def __post_init__(self) -> None:
        if self.use == "fairness" and self.type != "text":
            raise ValueError('groups of customers are told by a text: give it the type "text"')
        if self.unit and self.type == "text":
            raise ValueError("a text has no unit")
        for words in (self.unit, self.meaning):
            if not words.isprintable():
                raise ValueError(f"{words!r} holds unprintable characters")


#: the declared attributes by name, as settings hold them
Declared = Annotated[dict[AttributeName, Attribute], Meta(max_length=MAX_ATTRIBUTES)]


@dataclass(frozen=True)
class Attributes:
    """The attributes that a stack knows, in the order in which they are declared."""

    declared: Mapping[str, Attribute] = field(default_factory=dict)

    def of(self, tenant: str) -> tuple[tuple[str, bool], ...]:
        """(name, whether it is a text) of each attribute that a tenant may send."""
        if not self.limited:
            return self._all
        return tuple(
            (name, found.type == "text")
            for name, found in self.declared.items()
            if not found.tenants or tenant in found.tenants
        )

    def type_of(self, name: str) -> Kind | None:
        """The type of an attribute by its name; None if it is not declared."""
        found = self.declared.get(name)
        return None if found is None else found.type

    @cached_property
    def protected(self) -> tuple[str, ...]:
        """Names of those that no model takes, by which fairness is judged."""
        return tuple(name for name, found in self.declared.items() if found.use == "fairness")

    @cached_property
    def limited(self) -> bool:
        """Whether some are of some tenants only."""
        return any(found.tenants for found in self.declared.values())

    @cached_property
    def _all(self) -> tuple[tuple[str, bool], ...]:
        return tuple((name, found.type == "text") for name, found in self.declared.items())


NO_ATTRIBUTES = Attributes()


def attribute_named(name: str) -> str | None:
    """The attribute in a name such as ``attributes.loyalty_tier``; None for the name of something else."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def canonical_text(text: str) -> str:
    """The canonical form of an attribute's text, as an identifier's; empty where it is blank.

    Raises:
        ValueError: it has none; the text says why.
    """
    return canonical_id(text) if text.strip(" ") else ""


def aligned_values(rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]] | None:
    """The values of n rows by name, (n,) each, if all rows have the same names in the same order; else None. Of ten attributes a row
    costs a tenth of a microsecond."""
    names = tuple(rows[0])
    if list(map(tuple, rows)).count(names) != len(rows):
        return None
    return dict(zip(names, zip(*[row.values() for row in rows], strict=True), strict=True))
