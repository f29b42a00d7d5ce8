"""Attributes of one's own from files: CSV and Parquet give what JSON gives, and what does not fit is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from features.attributes import Attribute, Attributes
from features.store.partitions import partitions_of
from services.cli.main import run
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.tenants import Tenants
from streams.contracts.transaction_parsing import admitted, parse_transaction
from streams.mapping import MappingError, ReplayFile, load_history, parse_mapping
from streams.processor.intake import sort_out
from streams.runtime.settings import Settings

RULES = """
[fields]
transaction_id = "id"
event_time = "at"
card_id = { constant = "card-42" }
merchant_id = { constant = "shop" }
amount_minor = { constant = 100 }
currency = { constant = "EUR" }
[attributes]
loyalty_tier = "tier"
basket_items = { column = "items", type = "number" }
member = { column = "member", type = "number" }
source = { constant = "file" }
"""
DECLARED = Attributes(
    {
        "loyalty_tier": Attribute("text"), "basket_items": Attribute("number"), "member": Attribute("number"),
        "source": Attribute("text"),
    }
)  # fmt: skip
ROWS: list[dict[str, Any]] = [
    {"tier": "gold", "items": 7.0, "member": True}, {"tier": None, "items": 0.25, "member": False},
    {"tier": " cafe\u0301 ", "items": None, "member": None}, {"tier": 'a"b\\c', "items": -3.0, "member": True},
]  # fmt: skip
WANTED: list[dict[str, Any]] = [
    {"loyalty_tier": "gold", "basket_items": 7, "member": 1}, {"basket_items": 0.25, "member": 0},
    {"loyalty_tier": "caf\u00e9"}, {"loyalty_tier": 'a"b\\c', "basket_items": -3, "member": 1},
]  # fmt: skip


class Record(NamedTuple):
    value: bytes
    offset: int
    partition: int
    headers: Any = ()
    topic: str = "transactions"
    timestamp: int = 2_000_000_000_000


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"id": f"t-{n}", "at": f"2026-11-21T10:15:0{n}Z", **row} for n, row in enumerate(rows)]
    )


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table(rows), path)
    else:
        numbers = [{**row, "member": None if row["member"] is None else int(row["member"])} for row in rows]
        pa_csv.write_csv(table(numbers), path)
    return path


def replayed(path: Path, rules: str = RULES) -> tuple[ReplayFile, list[bytes]]:
    file = ReplayFile(path, parse_mapping(rules.encode(), "test"), None)
    return file, [value for records in file.transactions() for value in records.values]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_gives_what_json_gives(tmp_path: Path, kind: str) -> None:
    file, values = replayed(written(tmp_path / f"t.{kind}", ROWS))
    assert file.unfit == 0
    for value, wanted in zip(values, WANTED, strict=True):
        found = admitted(parse_transaction(value), Tenants(attributes=DECLARED)).transaction
        assert found.attributes == {**wanted, "source": "file"}
    history = load_history(tmp_path / f"t.{kind}", parse_mapping(RULES.encode(), "test"))
    assert history["attributes.loyalty_tier"].to_pylist() == ["gold", None, "caf\u00e9", 'a"b\\c']
    assert history["attributes.basket_items"].to_pylist() == [7.0, 0.25, None, -3.0]
    # together, as the processor reads them
    home = int(partitions_of(["card-42"], 2)[0])
    records = [Record(value, offset, home) for offset, value in enumerate(values)]
    assert len(sort_out(records, 2, 100, tenants=Tenants(attributes=DECLARED)).accepted) == len(ROWS)


@pytest.mark.parametrize(
    ("row", "name", "why"),
    [
        ({"tier": "4111 1111 1111 1111", "items": 1.0}, "loyalty_tier", "holds a card number"),
        ({"tier": "x" * 65, "items": 1.0}, "loyalty_tier", "has more than 64 characters"),
        ({"tier": "gold", "items": 1e16}, "basket_items", "is not between"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, row: Any, name: str, why: str) -> None:
    rows = [ROWS[0], {**row, "member": None}]
    file, values = replayed(written(tmp_path / "t.parquet", rows))
    assert file.unfit == 1
    assert any(f"attributes.{name} {why}" in line for line in file.report.lines())
    assert b"4111 1111" not in values[1]
    # the stack refuses it too, whatever it declares
    with pytest.raises(InvalidEvent):
        admitted(parse_transaction(values[1]), Tenants())


def test_text_that_is_no_number_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "id,at,tier,items,member\nt-1,2026-11-21T10:15:00Z,gold,many,1\nt-2,2026-11-21T10:15:00Z,gold,7,1\n"
    )
    file, values = replayed(path)
    assert file.unfit == 1 and json.loads(values[1])["attributes"]["basket_items"] == 7
    assert any("attributes.basket_items is no number" in line for line in file.report.lines())
    with pytest.raises(InvalidEvent, match="attributes"):
        parse_transaction(values[0])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('x = { column = "items", type = "date" }', "date"),
        ('x = { column = "items", type = "number", map = { a = "b" } }', "attributes.x cannot have map"),
        ('x = { column = "items", decimal = "," }', "attributes.x cannot have decimal"),
        ("x = { row = true }", "attributes.x cannot have row"),
        ("x = {}", "attributes.x needs one of column or constant"),
        ('Tier = "tier"', "matching regex"),
        ("".join(f'a{n} = "tier"\n' for n in range(33)), "36 attributes|37 attributes"),
    ],
)
def test_what_an_attribute_cannot_do_is_refused(line: str, why: str) -> None:
    with pytest.raises(MappingError, match=why):
        parse_mapping((RULES + line).encode(), "test")


def test_a_type_of_a_field_is_refused() -> None:
    with pytest.raises(
        MappingError, match="merchant_id cannot have type: that is for attributes of type text"
    ):
        parse_mapping(
            RULES.replace('{ constant = "shop" }', '{ constant = "shop", type = "text" }').encode(), "test"
        )


def test_the_mapping_is_compared_with_what_the_stack_declares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "t.parquet", ROWS)
    (tmp_path / "m.toml").write_text(RULES)
    arguments = [
        "mapping",
        "check",
        str(tmp_path / "t.parquet"),
        "--mapping",
        str(tmp_path / "m.toml"),
        "--home",
        str(tmp_path),
    ]
    Settings(
        home=str(tmp_path), attributes={"loyalty_tier": Attribute("text"), "member": Attribute("number")}
    ).save()
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[0])["attributes"]["loyalty_tier"] == "gold"
    assert "does not declare them: basket_items, source" in err
    Settings(home=str(tmp_path), attributes={"loyalty_tier": Attribute("number")}).save()
    assert run(arguments) == 2
    assert (
        "attributes.loyalty_tier is a text, the stack's settings.toml says number" in capsys.readouterr().err
    )
