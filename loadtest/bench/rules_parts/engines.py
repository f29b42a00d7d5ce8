"""Engines that say for each condition which rows it is true of. Those that are not installed are left out and named.

Each gets what scoring has at hand (a matrix and lists) and must build its own columns, of the named ones only: that is
part of the price.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import INDEX
from loadtest.bench.rules_parts.traffic import NUMBERS, TEXTS, Table
from models.policy.rules.columns import Batch, TableColumns
from models.policy.rules.compiler import Meaning

#: hits per condition
Run = Callable[[Table], list[int]]
FIELDS = (*TEXTS, "amount_minor")


class Absent(Exception):
    """The library is not installed here."""


def ours(texts: list[str]) -> Run:
    """sqlglot's tree, made into NumPy operations once."""
    meaning = Meaning()
    matches = [meaning.compile(str(number), text) for number, text in enumerate(texts)]

    def run(table: Table) -> list[int]:
        batch = Batch(table.scores, table.matrix, TableColumns(table.fields))
        with np.errstate(all="ignore"):
            return [int(np.count_nonzero(match(batch))) for match in matches]

    return run


def polars(texts: list[str]) -> Run:
    """Expressions of ``sql_expr``, all in one ``select``."""
    pl = _library("polars")
    named = _named(texts)
    frame_of = [name for name in NUMBERS if name in named]
    expressions = [pl.sql_expr(text).sum().alias(str(number)) for number, text in enumerate(texts)]

    def run(table: Table) -> list[int]:
        columns: dict[str, Any] = {
            name: pl.Series(table.matrix[:, INDEX[name]], nan_to_null=True) for name in frame_of
        }
        columns |= {name: pl.Series(table.fields[name]) for name in FIELDS if name in named}
        frame = pl.DataFrame(columns | {"score": pl.Series(table.scores)})
        return [int(value or 0) for value in frame.select(expressions).row(0)]

    return run


def duckdb(texts: list[str]) -> Run:
    """One SELECT over an Arrow table."""
    connection = _library("duckdb").connect(config={"threads": 1})
    select = ", ".join(f"count(*) FILTER (WHERE {text}) AS c{n}" for n, text in enumerate(texts))
    named = _named(texts)

    def run(table: Table) -> list[int]:
        connection.register("batch", _arrow(table, named))
        return [int(value) for value in connection.execute(f"SELECT {select} FROM batch").fetchall()[0]]

    return run


def cel(texts: list[str]) -> Run:
    """CEL (Rust), compiled once, row by row; a missing value raises, which counts as no match."""
    library = _library("cel")
    programs = [library.compile(_as_cel(text)) for text in texts]
    named = _named(texts)

    def run(table: Table) -> list[int]:
        hits = [0] * len(programs)
        columns: dict[str, Any] = {
            name: table.matrix[:, INDEX[name]].tolist() for name in NUMBERS if name in named
        }
        columns |= {name: table.fields[name] for name in FIELDS if name in named}
        columns["score"] = table.scores.tolist()
        for row in zip(*columns.values(), strict=True):
            values = {
                name: float(value) if isinstance(value, int) else value
                for name, value in zip(columns, row, strict=True)
                if value is not None
            }
            for number, program in enumerate(programs):
                try:
                    hits[number] += program.execute(values) is True
                except Exception:  # noqa: BLE001 - the library's types for a name that is missing
                    continue
        return hits

    return run


def arrow(texts: list[str]) -> Run:
    """Arrow compute expressions through a scanner; the closest to columns that is installed anyway. Numbers only."""
    numeric = [text for text in texts if not any(name in text for name in TEXTS)]
    named = _named(numeric)
    expressions = [_as_arrow(text) for text in numeric]

    def run(table: Table) -> list[int]:
        whole = _arrow(table, named)
        return [whole.filter(expression).num_rows for expression in expressions]

    return run


ENGINES: dict[str, Callable[[list[str]], Run]] = {
    "sqlglot + NumPy (ours)": ours, "Polars": polars, "DuckDB": duckdb, "CEL (Rust)": cel,
    "Arrow filters (numeric rules only)": arrow,
}  # fmt: skip


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"{name} is not installed") from error


def _named(texts: list[str]) -> set[str]:
    return set(re.findall(r"[a-z_0-9]+", " ".join(texts)))


def _arrow(table: Table, named: set[str]) -> pa.Table:
    columns = {
        name: pa.array(table.matrix[:, INDEX[name]], from_pandas=True) for name in NUMBERS if name in named
    }
    columns |= {name: pa.array(table.fields[name]) for name in FIELDS if name in named}
    return pa.table(columns | {"score": pa.array(table.scores)})


def _as_cel(text: str) -> str:
    text = (
        re.sub(r"IN \(([^)]*)\)", r"in [\1]", text)
        .replace("<>", "!=")
        .replace("AND", "&&")
        .replace("OR", "||")
    )
    text = re.sub(r"(?<![!<>=])=(?!=)", "==", text).replace(">==", ">=")
    return re.sub(r"(?<![\w'.-])(\d+)(?![\w'.])", r"\1.0", text)


def _as_arrow(text: str) -> Any:
    """Arrow has no text form: the few templates are taken apart here."""

    def term(part: str) -> Any:
        name, op, value = part.strip(" ()").split(" ")
        left, right = pc.field(name), pc.scalar(float(value))
        return left >= right if op == ">=" else left > right

    whole = None
    for conjunct in text.split(" AND "):
        either = None
        for part in conjunct.split(" OR "):
            either = term(part) if either is None else either | term(part)
        whole = either if whole is None else whole & either
    return whole
