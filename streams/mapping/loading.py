"""Mappings from TOML: built in ones by name, a user's by path. What a field cannot do is refused by name."""

from __future__ import annotations

import codecs
from importlib import resources
from pathlib import Path

import msgspec
import pandas as pd

from features.attributes import MAX_ATTRIBUTES, PREFIX, Kind
from streams.mapping.definition import OPTIONAL, REQUIRED, FieldRule, FileRule, Mapping, ZoneRule
from streams.mapping.errors import MappingError
from streams.mapping.fields.moments import epoch_start
from streams.mapping.fields.zones import zone_of
from streams.mapping.files.dialect import MAX_SKIPPED

BUILTIN = ("handbook", "sparkov", "ulb", "paysim", "ieee-cis", "tabformer", "ibm-aml")
#: a mapping is a page of text
MAX_BYTES = 1_000_000
_ANYWHERE = {"column", "constant"}
_TEXT = _ANYWHERE | {"row", "template", "map"}
_NUMBER = _ANYWHERE | {"decimal", "thousands"}
#: what each field can do; ``tokenise`` where an identifier may be a card number
ABILITIES: dict[str, set[str]] = {
    **dict.fromkeys(("transaction_id", "card_id", "merchant_id", "customer_id", "device_id"), _TEXT | {"tokenise"}),
    **dict.fromkeys(("currency", "ip", "mcc", "channel", "country", "tenant"), _TEXT - {"row"}),
    "event_time": _NUMBER | {"template", "epoch", "format"},
    "amount_minor": _NUMBER | {"exponent", "round", "payments", "refunds"},
    **dict.fromkeys(("latitude", "longitude"), _NUMBER),
}  # fmt: skip
_OF_ATTRIBUTES: dict[Kind, set[str]] = {
    "text": (_TEXT - {"row"}) | {"tokenise", "type"}, "number": _NUMBER | {"type"},
}  # fmt: skip


def load_mapping(name: str | Path) -> Mapping:
    """A built-in mapping by its name (``BUILTIN``), else a TOML file.

    Raises:
        MappingError: there is no such file, or its content is not a valid mapping.
    """
    if str(name) in BUILTIN:
        raw = (resources.files("streams.mapping") / "builtin" / f"{name}.toml").read_bytes()
    else:
        try:
            with Path(name).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise MappingError(
                f"no mapping {name}: a TOML file or one of {', '.join(BUILTIN)} ({error})"
            ) from None
    return parse_mapping(raw, str(name))


def parse_mapping(raw: bytes, where: str) -> Mapping:
    """A mapping from TOML text.

    Raises:
        MappingError: see ``load_mapping``.
    """
    if len(raw) > MAX_BYTES:
        raise MappingError(f"mapping {where}: more than {MAX_BYTES:,} bytes, so it is no mapping")
    try:
        # decoded here, because the parser's own decoding does not know the byte order mark of some editors
        mapping = msgspec.toml.decode(raw.decode("utf-8-sig"), type=Mapping)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MappingError(f"mapping {where}: {str(error) or type(error).__name__}") from None
    try:
        _check_mapping(mapping)
    except MappingError as error:
        raise MappingError(f"mapping {where}: {error}") from None
    return mapping


def _check_mapping(mapping: Mapping) -> None:
    unknown = set(mapping.fields) - set(REQUIRED) - set(OPTIONAL)
    if unknown:
        raise MappingError(
            f"no field {', '.join(sorted(unknown))}; fields are {', '.join(REQUIRED + OPTIONAL)}"
        )
    missing = [field for field in REQUIRED if field not in mapping.fields]
    if missing:
        raise MappingError(f"required fields without a rule: {', '.join(missing)}")
    if len(mapping.attributes) > MAX_ATTRIBUTES:
        raise MappingError(f"{len(mapping.attributes)} attributes are more than {MAX_ATTRIBUTES}")
    for field in mapping.names:
        rule = mapping.rule(field)
        if rule is None:
            continue
        _check_abilities(field, rule)
        _check_source(field, rule)
    _check_zone(mapping.zone)
    _check_time(mapping)
    _check_amount(mapping)
    _check_file(mapping.file)
    if mapping.label and not 0 <= mapping.label.delay_days <= 3650:
        raise MappingError(f"delay_days is 0 to 3650, not {mapping.label.delay_days}")


def _check_abilities(field: str, rule: FieldRule) -> None:
    plain = FieldRule()
    given = {name for name in FieldRule.__struct_fields__ if getattr(rule, name) != getattr(plain, name)}
    abilities = _OF_ATTRIBUTES[rule.kind] if field.startswith(PREFIX) else ABILITIES[field]
    for name in sorted(given - abilities):
        able = [other for other, some in ABILITIES.items() if name in some]
        able += [f"attributes of type {kind}" for kind, some in _OF_ATTRIBUTES.items() if name in some]
        raise MappingError(f"{field} cannot have {name}: that is for {', '.join(able)}")
    if rule.constant is not None and (extra := given & {"template", "map", "epoch", "format"}):
        raise MappingError(f"{field} is a constant, so {', '.join(sorted(extra))} would change nothing")
    if rule.epoch is not None and (extra := given & {"template", "format"}):
        raise MappingError(f"{field} counts an epoch, so it cannot have {', '.join(sorted(extra))} as well")


def _check_source(field: str, rule: FieldRule) -> None:
    sources = [bool(rule.columns), rule.constant is not None, rule.row]
    if sum(sources) != 1:
        allowed = "column, constant or row" if "row" in ABILITIES.get(field, ()) else "column or constant"
        raise MappingError(f"{field} needs one of {allowed}")
    slots = 1 if rule.template is None else rule.template.count("{}")
    wanted = max(1, len(rule.columns))
    if slots != wanted:
        raise MappingError(f"the template of {field} has {slots} {{}} for {wanted} columns")


def _check_zone(zone: str | ZoneRule) -> None:
    for name in [zone] if isinstance(zone, str) else zone.map.values():
        if zone_of(name) is None:
            raise MappingError(
                f"no time zone {name!r}: a name such as Europe/Paris, or an offset such as +02:00"
            )


def _check_time(mapping: Mapping) -> None:
    rule = mapping.rule("event_time")
    assert rule is not None
    if rule.format is not None:
        try:
            pd.to_datetime(["1"], format=rule.format, errors="coerce")
        except Exception as error:  # noqa: BLE001 - the parser raises whatever its regular expressions do
            raise MappingError(f"event_time has a format that is none, {rule.format!r}: {error}") from None
    if rule.epoch is not None:
        epoch_start(rule.epoch)


def _check_amount(mapping: Mapping) -> None:
    rule = mapping.rule("amount_minor")
    assert rule is not None
    if rule.exponent is not None and not 0 <= rule.exponent <= 4:
        raise MappingError(f"exponent of amount_minor is 0 to 4, not {rule.exponent}")
    attributes = [name for name in mapping.names if name.startswith(PREFIX)]
    for field in ("amount_minor", "latitude", "longitude", "event_time", *attributes):
        found = mapping.rule(field) or FieldRule()
        decimal = found.decimal or mapping.file.decimal
        thousands = mapping.file.thousands if found.thousands is None else found.thousands
        if decimal == thousands:
            raise MappingError(f"{field}: {decimal!r} cannot be both decimal and thousands separator")


def _check_file(rule: FileRule) -> None:
    for name, text in (("separator", rule.separator), ("quote", rule.quote)):
        if text is not None and not (len(text) == 1 and text.isascii() and text not in "\r\n\0"):
            raise MappingError(f"{name} is one ASCII character, not {text!r}")
    if rule.separator == rule.quote:
        raise MappingError(f"{rule.quote!r} cannot be both separator and quote")
    if rule.encoding is not None:
        try:
            text_encoding = codecs.lookup(rule.encoding)
            "".encode(rule.encoding)
        except (LookupError, ValueError, TypeError):
            raise MappingError(
                f"no text encoding {rule.encoding!r}: such as utf-8, utf-16, latin-1, cp1252"
            ) from None
        if text_encoding.name in ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"):
            raise MappingError(f"{rule.encoding!r} is no encoding of files")
    if not 0 <= rule.skip_lines <= MAX_SKIPPED:
        raise MappingError(f"skip_lines is 0 to {MAX_SKIPPED}, not {rule.skip_lines}")
    if rule.columns is not None and (not rule.columns or len(set(rule.columns)) < len(rule.columns)):
        raise MappingError("columns of the file: at least one, each name once")
