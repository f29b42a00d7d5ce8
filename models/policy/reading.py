"""Turns parsed TOML or JSON into structs, field by field, so that all errors are found and not only the first."""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar, get_args, get_origin

import msgspec

Struct = TypeVar("Struct", bound=msgspec.Struct)
#: parser's message -> what a person can do about it
_ADVICE = (
    (r"RFC3339|timezone|datetime", "write a time with its zone, such as 2027-01-31T00:00:00Z"),
    (r"matching regex '\^\[a-z\]", "use lower-case letters, digits and dashes, at most 64 characters"),
    (r"that names a field", "it is one of card_id, merchant_id, customer_id, device_id, ip, or attributes.NAME"),
    (r"matching regex '\^\[A-Z\]", "use three capital letters, such as EUR"),
)  # fmt: skip


def read_struct(raw: Any, kind: type[Struct], place: str, errors: list[str]) -> Struct | None:
    """The struct; None after adding every error to ``errors``. ``place``: what is read, to begin each error with."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        # it names the first error only
        pass
    if not isinstance(raw, dict):
        errors.append(f"{place}: expected a table of fields, got {_kind(raw)}")
        return None
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    errors += [f"{place}: unknown field `{name}`{_near(name, fields)}" for name in raw if name not in fields]
    for name, field in fields.items():
        if name in raw:
            try:
                msgspec.convert(raw[name], field.type)
            except msgspec.ValidationError as error:
                errors.append(f"{place}: {_plainly(str(error), name, field.type)}")
        elif field.required:
            errors.append(f"{place}: missing required field `{name}`")
    return None


def read_table(raw: Any, place: str, errors: list[str]) -> list[Any]:
    """A list, or nothing after adding an error."""
    if isinstance(raw, list):
        return raw
    errors.append(f"{place}: expected a list, got {_kind(raw)}")
    return []


def _plainly(error: str, name: str, kind: Any) -> str:
    text, _, path = error.partition(" - at `$")
    where = f"`{name}{path.rstrip('`')}`"
    options = [get_args(option) for option in (kind, *get_args(kind)) if "Literal" in str(get_origin(option))]
    if options:
        return f"{text} in {where}: it is one of {', '.join(options[0])}"
    # a pattern of names says less than the names
    text = re.sub(r"matching regex '\^\(.*", "that names a field", text)
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), "")
    return f"{text} in {where}" + (f": {advice}" if advice else "")


def _near(name: str, fields: Any) -> str:
    close = difflib.get_close_matches(name, list(fields), 1)
    return f"; did you mean `{close[0]}`?" if close else f" (there are {', '.join(fields)})"


def _kind(raw: Any) -> str:
    return {str: "a text", list: "a list", dict: "a table", bool: "true or false", type(None): "nothing"}.get(type(raw), "a number")  # fmt: skip
