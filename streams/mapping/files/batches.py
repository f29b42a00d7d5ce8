"""What a reader of files gives, and how a mapping's column names find their columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streams.mapping.errors import MappingError

#: longer cells are cut: whatever reads them takes 64 characters at most
MAX_CELL = 256
_SECOND = re.compile(r"(.*)#([1-9]\d{0,4})", re.DOTALL)


class Broken(NamedTuple):
    """A row that is none: why, and its text, cut."""

    reason: str
    text: str


@dataclass(frozen=True)
class RawBatch:
    """Some rows of a file. ``columns``: wanted name to its cells, empty cells null. ``numbers``: the row's number in the
    file, from 1. ``broken``: rows that have another number of cells than the header, by number."""

    columns: dict[str, pa.Array]
    numbers: npt.NDArray[np.int64]
    broken: dict[int, Broken] = field(default_factory=dict)


@dataclass(frozen=True)
class RawFile:
    """``described``: what the reader took the file for. ``header``: all column names. ``batches``: to be read once."""

    path: Path
    described: str
    header: list[str]
    batches: Iterator[RawBatch]


def find_columns(path: Path, wanted: Sequence[str], header: Sequence[str]) -> dict[str, int]:
    """The place of each wanted column. ``NAME#2`` is the second of several columns with one name.

    Raises:
        MappingError: the file lacks a column, or a name stands in it more than once.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name, []).append(place)
    for place, name in enumerate(header):
        places.setdefault(name.strip(), [place])
    found, absent = {}, []
    for name in wanted:
        numbered = _SECOND.fullmatch(name)
        if name in places:
            if len(places[name]) > 1:
                where = " and ".join(str(place + 1) for place in places[name])
                raise MappingError(
                    f"{path} has column {name} {len(places[name])} times, at {where}: "
                    f"write {' or '.join(f'{name}#{i + 1}' for i in range(len(places[name])))}"
                )
            found[name] = places[name][0]
        elif numbered and len(places.get(numbered[1], [])) >= int(numbered[2]):
            found[name] = places[numbered[1]][int(numbered[2]) - 1]
        else:
            absent.append(name)
    if absent:
        shown = ", ".join(header[:100]) + (f" and {len(header) - 100} more" if len(header) > 100 else "")
        raise MappingError(f"{path} has no column {', '.join(absent)}; it has {shown}")
    return found
