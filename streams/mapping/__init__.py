"""Read foreign files as transactions and labels: a TOML mapping says which column becomes which field."""

from streams.mapping.definition import Mapping, MappingError, load_mapping, parse_mapping
from streams.mapping.replay import Records, ReplayFile, load_history

__all__ = [
    "Mapping",
    "MappingError",
    "Records",
    "ReplayFile",
    "load_history",
    "load_mapping",
    "parse_mapping",
]
