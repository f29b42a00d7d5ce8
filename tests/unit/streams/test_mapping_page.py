"""The page of options: its example is a mapping, and every option stands on it."""

from __future__ import annotations

import re
from pathlib import Path

import streams.mapping.definition as definition
from streams.mapping import parse_mapping

PAGE = (Path(definition.__file__).parent / "MAPPING.md").read_text()


def test_the_example_is_a_mapping() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    mapping = parse_mapping(example.encode(), "the page")
    assert mapping.file.separator == ";" and mapping.label is not None


def test_every_option_is_on_the_page() -> None:
    kinds = (
        definition.Mapping,
        definition.FieldRule,
        definition.LabelRule,
        definition.FileRule,
        definition.SkipRule,
    )
    options = {name for kind in kinds for name in kind.__struct_fields__}
    missing = [name for name in sorted(options) if not re.search(rf"\b{name}\b", PAGE)]
    assert missing == []
    for name in (*definition.REQUIRED, *definition.OPTIONAL):
        assert name in PAGE
