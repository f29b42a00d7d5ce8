"""A mapping says for each field of a transaction which column it comes from and how it is converted. In TOML, for example:

zone = "Europe/Paris"                 # of times without an offset; default UTC. { column = "tz" }: each row has its own
order_by = "booked_at"                # a column; default: the order of the file
[file]                                # only where it is not what the file itself shows
separator = ";"
decimal = ","
[fields]
transaction_id = { column = "id", template = "bank-{}" }
event_time = "booked_at"              # a string is short for { column = "booked_at" }
card_id = { column = "pan", tokenise = true }
merchant_id = { column = ["acquirer", "terminal"], template = "{}:{}" }
amount_minor = "amount"               # 12.50 EUR is 1250, 1000 JPY is 1000: the currency decides
currency = { constant = "EUR" }
channel = { column = "entry", map = { C = "pos", E = "ecom" } }
[label]
column = "chargeback"
fraud = "Y"
honest = "N"
delay_days = 30
[attributes]                          # declared in the stack's settings.toml
loyalty_tier = "tier"
basket_items = { column = "items", type = "number" }
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from features.attributes import PREFIX, AttributeName, Kind

REQUIRED = ("transaction_id", "event_time", "card_id", "merchant_id", "amount_minor", "currency")
OPTIONAL = ("customer_id", "device_id", "ip", "mcc", "channel", "country", "latitude", "longitude", "tenant")
Scalar = str | int | float | bool
Unit = Literal["ns", "us", "ms", "s", "min", "h", "d"]


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number that counts ``unit`` since ``start`` (TOML: ``from``). A start without an offset is local time of the zone,
    and the count runs on the wall clock."""

    unit: Unit
    start: Any = msgspec.field(default="1970-01-01T00:00:00Z", name="from")


class FieldRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a field comes from: a ``constant``, the ``row`` number, or one or more columns.

    ``template`` has one ``{}`` per column. ``exponent`` is the number of decimals of an amount's minor unit (2: cents, 0:
    the amount is in minor units already); without one the currency decides. ``round``: what is done with a fraction of a
    minor unit; without it such a row is refused. ``payments``: which sign payments have; ``refunds``: what is done with
    amounts of the other sign. ``epoch``: the number counts time. ``format``: strptime format of times that are not ISO 8601.
    ``map`` translates values; a value not in it becomes null. ``tokenise`` replaces a card number by a keyed HMAC.
    ``decimal`` and ``thousands``: how numbers are written in this column, where it differs from the file. ``type``: of an
    attribute; without one it is a text.
    """

    column: str | list[str] | None = None
    constant: Scalar | None = None
    row: bool = False
    template: str | None = None
    tokenise: bool = False
    exponent: int | None = None
    round: Literal["half_even", "half_up", "down"] | None = None
    payments: Literal["positive", "negative"] = "positive"
    refunds: Literal["refuse", "skip"] = "refuse"
    epoch: Unit | Epoch | None = None
    format: str | None = None
    map: dict[str, str] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal["", ".", ",", " ", "'"] | None = None
    type: Kind | None = None

    @property
    def kind(self) -> Kind:
        """The type of an attribute."""
        return self.type or "text"

    @property
    def columns(self) -> list[str]:
        """Names of the columns it reads; none for a constant."""
        if self.column is None:
            return []
        return [self.column] if isinstance(self.column, str) else list(self.column)


class LabelRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which values of which column mean fraud and honest, and how many days after the transaction the label comes.

    ``honest`` is by default the plain opposite of ``fraud`` (0 of 1, false of true, N of Y, No of Yes). A row with another
    value has no label. ``fraud = "*"`` is any value that is not honest, and ``honest = ""`` the empty cell, as for a column that holds the date
    of a chargeback.
    """

    column: str
    fraud: Scalar | list[Scalar] = 1
    honest: Scalar | list[Scalar] | None = None
    delay_days: float = 7.0
    source: Literal["chargeback", "analyst", "customer"] = "chargeback"
    #: whether honest transactions get the label legit, after the same delay
    legit: bool = True


class FileRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a file is written, where the file itself does not show it.

    ``columns`` names the columns of a CSV file without a header. ``null``: texts that mean "no value" besides the empty cell.
    ``escape``: a backslash before each quote inside a cell (Spark, Hive, MySQL), where the file's beginning does not show it.
    ``skip_lines``: so many lines of a CSV file stand before its header, or before its first row where it has none.
    """

    separator: str | None = None
    quote: str = '"'
    escape: Literal["\\"] | None = None
    encoding: str | None = None
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    null: list[str] = []
    columns: list[str] | None = None
    skip_lines: int = 0


class SkipRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that are no payments: those whose ``column`` has one of ``values``."""

    column: str
    values: list[Scalar]


class ZoneRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The zone of each row: a name of the tz database or an offset from UTC such as +02:00 in ``column``. ``map`` translates
    other words, such as those of a country's own. A row without a zone is refused, unless its time has an offset."""

    column: str
    map: dict[str, str] = {}


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the columns of one table become transactions and labels."""

    fields: dict[str, FieldRule | str]
    label: LabelRule | None = None
    zone: str | ZoneRule = "UTC"
    order_by: str | None = None
    file: FileRule = FileRule()
    skip: list[SkipRule] = []
    attributes: dict[AttributeName, FieldRule | str] = {}

    def rule(self, field: str) -> FieldRule | None:
        """The rule of a field, or of an attribute (``attributes.NAME``); None if the mapping has none."""
        own = field.startswith(PREFIX)
        found = self.attributes.get(field.removeprefix(PREFIX)) if own else self.fields.get(field)
        return FieldRule(column=found) if isinstance(found, str) else found

    @property
    def names(self) -> tuple[str, ...]:
        """All fields of the contract, then the attributes that the mapping fills (``attributes.NAME``)."""
        return REQUIRED + OPTIONAL + tuple(PREFIX + name for name in self.attributes)

    @property
    def columns(self) -> list[str]:
        """All columns that are read, each once."""
        names = [name for field in self.names for name in (self.rule(field) or FieldRule()).columns]
        names += [self.zone.column] if isinstance(self.zone, ZoneRule) else []
        names += [self.label.column] if self.label else []
        names += [rule.column for rule in self.skip]
        names += [self.order_by] if self.order_by and not self.by_time else []
        return list(dict.fromkeys(names))

    @property
    def by_time(self) -> bool:
        """Whether ``order_by`` names the time, as a column that it is made of or as the field ``event_time``."""
        rule = self.rule("event_time")
        return (
            self.order_by is not None and rule is not None and self.order_by in [*rule.columns, "event_time"]
        )

    @property
    def tokenises(self) -> bool:
        """Whether a key for card numbers is needed."""
        return any((self.rule(field) or FieldRule()).tokenise for field in self.names)
