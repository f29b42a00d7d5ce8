"""A mapping says for each field of a transaction which column it comes from and how it is converted. In TOML, for example:

zone = "Europe/Paris"                 # of times without a zone; default UTC
order_by = "booked_at"                # a column; default: the order of the file
[fields]
transaction_id = { column = "id", template = "bank-{}" }
event_time = "booked_at"              # a string is short for { column = "booked_at" }
card_id = { column = "pan", tokenise = true }
merchant_id = { column = ["acquirer", "terminal"], template = "{}:{}" }
amount_minor = { column = "amount", exponent = 2 }
currency = { constant = "EUR" }
channel = { column = "entry", map = { C = "pos", E = "ecom" } }
[label]
column = "chargeback"
fraud = "Y"
delay_days = 30
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

REQUIRED = ("transaction_id", "event_time", "card_id", "merchant_id", "amount_minor", "currency")
OPTIONAL = ("customer_id", "device_id", "ip", "mcc", "channel", "country", "latitude", "longitude", "tenant")
BUILTIN = ("handbook", "sparkov")
Scalar = str | int | float | bool


class MappingError(Exception):
    """A mapping is invalid or does not fit its file; the text names the place and what would fit."""

    exit_code = 2


class FieldRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a field comes from: a ``constant``, or one or more columns.

    ``template`` has one ``{}`` per column. ``exponent`` converts major units to minor units (2: euros to cents).
    ``epoch``: the number counts seconds or milliseconds since 1970. ``format``: strptime format of times that are not
    ISO 8601. ``map`` translates values; a value not in it becomes null. ``tokenise`` replaces a card number by a keyed
    HMAC.
    """

    column: str | list[str] | None = None
    constant: Scalar | None = None
    template: str | None = None
    tokenise: bool = False
    exponent: int = 0
    epoch: Literal["s", "ms"] | None = None
    format: str | None = None
    map: dict[str, str] | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns it reads; none for a constant."""
        if self.column is None:
            return []
        return [self.column] if isinstance(self.column, str) else list(self.column)


class LabelRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which value of which column means fraud, and how many days after the transaction the label comes. Null: no label."""

    column: str
    fraud: Scalar = 1
    delay_days: float = 7.0
    source: Literal["chargeback", "analyst", "customer"] = "chargeback"
    #: whether all other transactions get the label legit, after the same delay
    legit: bool = True


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the columns of one table become transactions and labels."""

    fields: dict[str, FieldRule | str]
    label: LabelRule | None = None
    zone: str = "UTC"
    order_by: str | None = None

    def rule(self, field: str) -> FieldRule | None:
        """The rule of a field; None if the mapping has none."""
        found = self.fields.get(field)
        return FieldRule(column=found) if isinstance(found, str) else found

    @property
    def columns(self) -> list[str]:
        """All columns that are read, each once."""
        names = [name for field in self.fields for name in (self.rule(field) or FieldRule()).columns]
        names += [self.label.column] if self.label else []
        names += [self.order_by] if self.order_by else []
        return list(dict.fromkeys(names))

    @property
    def tokenises(self) -> bool:
        """Whether a key for card numbers is needed."""
        return any((self.rule(field) or FieldRule()).tokenise for field in self.fields)


def load_mapping(name: str | Path) -> Mapping:
    """A built-in mapping by its name (``handbook``, ``sparkov``), else a TOML file.

    Raises:
        MappingError: there is no such file, or its content is not a valid mapping.
    """
    if str(name) in BUILTIN:
        raw = (resources.files("streams.mapping") / "builtin" / f"{name}.toml").read_bytes()
    else:
        try:
            raw = Path(name).read_bytes()
        except OSError as error:
            raise MappingError(
                f"no mapping {name}: a TOML file or one of {', '.join(BUILTIN)} ({error.strerror})"
            ) from None
    return parse_mapping(raw, str(name))


def parse_mapping(raw: bytes, where: str) -> Mapping:
    """A mapping from TOML text.

    Raises:
        MappingError: see ``load_mapping``.
    """
    try:
        mapping = msgspec.toml.decode(raw, type=Mapping)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MappingError(f"mapping {where}: {error}") from None
    _check(mapping, where)
    return mapping


def _check(mapping: Mapping, where: str) -> None:
    unknown = set(mapping.fields) - set(REQUIRED) - set(OPTIONAL)
    if unknown:
        raise MappingError(
            f"mapping {where}: no field {', '.join(sorted(unknown))}; fields are {', '.join(REQUIRED + OPTIONAL)}"
        )
    missing = [field for field in REQUIRED if field not in mapping.fields]
    if missing:
        raise MappingError(f"mapping {where}: required fields without a rule: {', '.join(missing)}")
    for field in mapping.fields:
        rule = mapping.rule(field)
        assert rule is not None
        if bool(rule.columns) == (rule.constant is not None):
            raise MappingError(f"mapping {where}: {field} needs either column or constant")
        slots = 1 if rule.template is None else rule.template.count("{}")
        if rule.columns and slots != len(rule.columns):
            raise MappingError(
                f"mapping {where}: the template of {field} has {slots} {{}} for {len(rule.columns)} columns"
            )
        if not 0 <= rule.exponent <= 4:
            raise MappingError(f"mapping {where}: exponent of {field} is 0 to 4, not {rule.exponent}")
    try:
        ZoneInfo(mapping.zone)
    except (KeyError, ValueError, OSError):
        raise MappingError(f"mapping {where}: no time zone {mapping.zone!r}") from None
    if mapping.label and not 0 <= mapping.label.delay_days <= 3650:
        raise MappingError(f"mapping {where}: delay_days is 0 to 3650, not {mapping.label.delay_days}")
