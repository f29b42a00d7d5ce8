"""Read foreign files as transactions and labels: a TOML mapping says which column becomes which field."""

from streams.mapping.definition import Mapping
from streams.mapping.errors import MappingError, NoRowFits
from streams.mapping.loading import BUILTIN, load_mapping, parse_mapping
from streams.mapping.replay import Records, ReplayFile, load_history
from streams.mapping.report import Report

__all__ = [
    "BUILTIN",
    "Mapping",
    "MappingError",
    "NoRowFits",
    "Records",
    "ReplayFile",
    "Report",
    "load_history",
    "load_mapping",
    "parse_mapping",
]
