"""Write a mapping for a file that nobody has mapped. It is tried before it is printed, and says how far it gets."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from features.attributes import NO_ATTRIBUTES, Attributes
from streams.mapping.definition import FileRule
from streams.mapping.errors import MappingError
from streams.mapping.fields.converted import Mask, bools
from streams.mapping.fields.text import as_text
from streams.mapping.loading import BUILTIN, load_mapping, parse_mapping
from streams.mapping.replay import ReplayFile
from streams.mapping.suggestion.amounts import AmountGuess, guess_amount, guess_currency
from streams.mapping.suggestion.attributes import AttributeGuess, declared_attributes, further_attributes
from streams.mapping.suggestion.names import (
    Guess,
    LabelGuess,
    guess_channel,
    guess_code,
    guess_identifier,
    guess_ip,
    guess_label,
)
from streams.mapping.suggestion.profile import ROWS, Column, look_at, named
from streams.mapping.suggestion.refunds import guess_skips
from streams.mapping.suggestion.times import TimeGuess, guess_time, unread_time
from streams.mapping.suggestion.toml import quoted, rule_text
from streams.mapping.tokens import KEY_BYTES

_TRANSACTION = [
    r"\b(transaction|trans|tx|trx|txn|payment|order|event)\b ?(id|no|num|number|ref|reference|key|nr)?\b.*\b(id|num|no|number|ref|uuid)\b",
    r"^(transaction|trans|tx|trx|txn|pay|order)(id|no|num|ref|hash|key)$", r"^(transaction|trans|tx|trx|txn|payment|order|event)$", r"^(id|uuid|guid|reference|ref|rowid|index)$", r"\bid\b",
]  # fmt: skip
_CARD = [
    r"\b(card|cc|pan|karte|kartennummer|carte|tarjeta|kaart)\b", r"\b(account|acct|iban|konto|compte)\b", r"\bname orig\b|\b(payer|sender|debtor|originator)\b",
    r"\b(customer|client|user|cust|kunde|member|cardholder)\b",
]  # fmt: skip
_MERCHANT = [
    r"merchant|\bmrch", r"terminal|\bshop\b|\bstore\b|seller|vendor|retailer|acceptor|h(ä|ae)ndler|comercio|marchand|commer",
    r"\bname dest\b|payee|beneficiary|receiver|recipient|creditor|counterparty", r"\b(account|acct|iban)\b", r"product",
]  # fmt: skip
_CUSTOMER = [r"\b(customer|client|user|cust|kunde|member|cardholder)\b"]
_DEVICE = [r"\bdevice\b", r"fingerprint|browser id"]
_EMPTY_WORDS = frozenset({"null", "none", "nan", "n/a", "na", "\\n", "-", "nil", "undefined", "unknown", "?"})
#: what the line begins with that names the fields for which a file has nothing
TO_FILL_IN = "# To fill in"
_NO_VALUE = "# nothing in the file looks like one: put the right value here"


def suggest(path: Path, rule: FileRule, declared: Attributes = NO_ATTRIBUTES) -> str:
    """A mapping as TOML; every guess is commented with its evidence.

    Args:
        declared: attributes of one's own that the stack's settings declare.

    Raises:
        MappingError: the file cannot be read, or has no rows.
    """
    rule = named(path, rule)
    described, columns = look_at(path, rule)
    head = [f"# A first mapping for {_comment(path.name)}: {_comment(described)}.", "# Guessed from names and from the first "
            f"{min(ROWS, columns[0].rows if columns else 0):,} rows: check it with `tollgate mapping check`."]  # fmt: skip
    builtin = _known(columns)
    if builtin is not None:
        head.append(
            f"# Its columns are those of a built-in mapping: --mapping {builtin} may be all you need."
        )
    body = _Writer(columns, rule, declared).text()
    text = "\n".join([*head, body])
    return "\n".join([*head, *_to_fill_in(body), *_tried(path, text), body])


def _to_fill_in(body: str) -> list[str]:
    """The fields for which the file has nothing, in one line."""
    lines = body.split("\n")
    names = [after.split(" = ")[0] for line, after in pairwise(lines) if line == _NO_VALUE]
    return (
        [f"{TO_FILL_IN}, because nothing in the file looks like them: {', '.join(names)}."] if names else []
    )


def _known(columns: list[Column]) -> str | None:
    names = {column.name for column in columns} | {column.name.rsplit("#", 1)[0] for column in columns}
    return next((name for name in BUILTIN if set(load_mapping(name).columns) <= names), None)


def _tried(path: Path, text: str) -> list[str]:
    """What comes of the first rows with it."""
    try:
        mapping = parse_mapping(text.encode(), "as suggested")
        report = ReplayFile(path, mapping, bytes(KEY_BYTES), ROWS).report
    except MappingError as error:
        return [f"# It does not fit yet: {_comment(line)}" for line in str(error).splitlines()]
    lines = [
        f"# Of {report.rows:,} rows, {report.fit:,} are transactions; labels: {', '.join(f'{count:,} {name}' for name, count in report.labels.items())}."
    ]
    return lines + [f"# Refused: {_comment(line)}" for line in report.reasons_lines()]


class _Writer:
    """Assigns columns to fields, each column to one field, and writes the rules."""

    def __init__(self, columns: list[Column], rule: FileRule, declared: Attributes) -> None:
        self._columns, self._file, self._declared = columns, rule, declared
        self._used: set[str] = set()

    def text(self) -> str:
        label = guess_label(self._columns)
        self._use([label.column] if label else [])
        time = guess_time(self._free())
        self._use(time.columns if time else [])
        self._use([time.zone.column] if time and time.zone else [])
        amount = guess_amount(self._free())
        self._use([amount.column] if amount else [])
        fields: dict[str, Guess | None] = {
            "transaction_id": self._identifier(_TRANSACTION, unique=True),
            "event_time": Guess(time.columns, time.options, time.why) if time else None,
            "amount_minor": Guess([amount.column], amount.options, amount.why) if amount else None,
            "currency": self._currency(amount),
            "mcc": self._take(guess_code(self._free(), [r"\bmcc\b", r"category code"], r"\d{3,4}(\.0)?")),
            "country": self._take(guess_code(self._free(), [r"country|\bland\b|pays"], r"[A-Za-z]{2}")),
            "ip": self._take(guess_ip(self._free())),
            "device_id": self._identifier(_DEVICE),
            "card_id": self._identifier(_CARD),
            "merchant_id": self._identifier(_MERCHANT),
            "customer_id": self._identifier(_CUSTOMER),
            "channel": self._take(guess_channel(self._free())),
            "latitude": self._place(r"^lat|\blat$|latitude", 90),
            "longitude": self._place(r"^(long?|lng)\b|\b(long?|lng)$|longitude", 180),
        }
        lines = [*self._file_lines(fields), "[fields]"]
        for name, guess in fields.items():
            why = unread_time(self._free()) if name == "event_time" and guess is None else None
            lines += [*([f"# {_comment(why)}"] if why else []), *_rule(name, guess)]
        for skip in guess_skips(self._free()):
            self._use([skip.column])
            lines += [
                "",
                "[[skip]]",
                f"# {_comment(skip.why)}",
                f"column = {quoted(skip.column)}",
                f"values = [{', '.join(map(quoted, skip.values))}]",
            ]
        if label is not None:
            lines += ["", "[label]", f"# {_comment(label.why)}", f"column = {quoted(label.column)}", f"fraud = {label.fraud}",
                      f"honest = {label.honest}", "delay_days = 7  # how long a fraud takes to be reported: put the right number here"]  # fmt: skip
        lines += self._attributes(label)
        return "\n".join([*_top(time), *lines]) + "\n"

    def _attributes(self, label: LabelGuess | None) -> list[str]:
        """Attributes that are declared, then commented out those that could be."""
        found = declared_attributes(self._free(), self._declared)
        self._use([guess.column for guess in found])
        names = set(self._declared.declared)
        further = further_attributes(self._free(), self._fraud(label), len(names), names)
        lines = [line for guess in found for line in (f"# {_comment(guess.why)}", _attribute(guess))]
        if self._declared.declared or further.guesses:
            lines = ["", "[attributes]  # of one's own, which the stack's settings.toml declares", *lines]
        for name in [name for name in names if name not in {guess.name for guess in found}]:
            lines.append(f"# {name}: no column has its name and type")
        if further.guesses:
            told = (
                "tell fraud from honest rows"
                if further.measured
                else "may tell more (too few labels here to measure it)"
            )
            one = further.guesses[0]
            lines += [f"# Columns that no field takes, but that {told}. To use one, take the # before it away and declare it in settings.toml,",
                      f"# under [attributes]: {one.name} = {{ type = \"{one.kind}\" }}. Only what is known when the payment is made."]  # fmt: skip
        for guess in further.guesses:
            lines += [f"# {_attribute(guess)}", f"#     {_comment(guess.why)}"]
        if further.left_out:
            lines.append(
                f"# Left out, because they seem to tell the outcome: {_comment(', '.join(further.left_out))}"
            )
        return lines

    def _fraud(self, label: LabelGuess | None) -> Mask | None:
        """Which rows are fraud."""
        if label is None:
            return None
        (column,) = [column for column in self._columns if column.name == label.column]
        texts = pc.utf8_trim_whitespace(as_text(column.cells))
        return bools(pc.is_in(texts, pa.array(label.means_fraud, pa.string())))

    def _free(self) -> list[Column]:
        return [column for column in self._columns if column.name not in self._used]

    def _use(self, names: list[str]) -> None:
        self._used |= set(names)

    def _take(self, guess: Guess | None) -> Guess | None:
        self._use(guess.columns if guess else [])
        return guess

    def _identifier(self, patterns: list[str], unique: bool = False) -> Guess | None:
        return self._take(guess_identifier(self._free(), patterns, unique))

    def _place(self, pattern: str, limit: float) -> Guess | None:
        found = guess_code(self._free(), [pattern], r"[-+]?\d{1,3}([.,]\d+)?")
        return self._take(found)

    def _currency(self, amount: AmountGuess | None) -> Guess | None:
        column = guess_currency(self._free())
        if column is not None:
            self._use([column.name])
            return Guess([column.name], {}, f"ISO 4217 codes, such as {next(iter(column.counts))!r}")
        if amount is not None and amount.sign is not None:
            return Guess([], {"constant": quoted(amount.sign)}, "the sign beside the amounts")
        return None

    def _file_lines(self, fields: dict[str, Guess | None]) -> list[str]:
        """What was said of the file stands in the mapping; and what texts may mean that there is no value."""
        lines = [
            f"{n} = {quoted(value)}" for n in ("separator", "encoding") if (value := getattr(self._file, n))
        ]
        if self._file.skip_lines:
            lines += ["# lines before the header", f"skip_lines = {self._file.skip_lines}"]
        if self._file.columns is not None:
            names = ", ".join(map(quoted, self._file.columns))
            lines += ["# its first line is no header: give the columns the names that they should have", f"columns = [{names}]"]  # fmt: skip
        lines += self._empty_words(fields)
        return ["[file]", *lines, ""] if lines else []

    def _empty_words(self, fields: dict[str, Guess | None]) -> list[str]:
        """Texts in columns of optional identifiers by which programs mean nothing, and which would be one customer or device for all."""
        counts: Counter[str] = Counter()
        where: set[str] = set()
        for name in ("customer_id", "device_id", "ip", "channel"):
            guess = fields[name]
            for column in [column for column in self._columns if guess and column.name in guess.columns]:
                for text, count in column.counts.items():
                    if text.lower() in _EMPTY_WORDS:
                        counts[text] += count
                        where.add(column.name)
        if not counts:
            return []
        said = (
            f"{counts.total():,} cells of {', '.join(sorted(where))}: take the # away if they mean no value"
        )
        return [f"# null = [{', '.join(map(quoted, counts))}]  # {_comment(said)}"]


def _rule(name: str, guess: Guess | None) -> list[str]:
    if guess is not None:
        return [f"# {_comment(guess.why)}", f"{name} = {rule_text(guess.columns, guess.options)}"]
    missing = {
        "transaction_id": '{ row = true, template = "row-{}" }', "event_time": '{ constant = "2020-01-01T00:00:00Z" }',
        "card_id": '{ row = true, template = "card-{}" }', "merchant_id": '{ constant = "unknown" }',
        "amount_minor": "{ constant = 0 }", "currency": '{ constant = "XXX" }',
    }  # fmt: skip
    return [_NO_VALUE, f"{name} = {missing[name]}"] if name in missing else []


def _attribute(guess: AttributeGuess) -> str:
    return f"{guess.name} = {rule_text([guess.column], guess.options)}"


def _top(time: TimeGuess | None) -> list[str]:
    """What stands before the tables: where zones are, and the order."""
    if time is None:
        return []
    lines = [
        'order_by = "event_time"  # features depend on the order: drop it if the file is in order of arrival',
        "",
    ]
    if time.zone is None:
        return lines
    words = ", ".join(f"{quoted(word)} = {quoted(zone)}" for word, zone in time.zone.map.items())
    parts = [f"column = {quoted(time.zone.column)}", *([f"map = {{ {words} }}"] if words else [])]
    return [f"zone = {{ {', '.join(parts)} }}  # of each row; a time with its own offset keeps it", *lines]


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
