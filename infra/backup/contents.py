"""What a backup holds, and in which order it is read from a running stack (decision 38).

Positions come first, then records from the end of the flow to its beginning: ``decisions`` before ``features`` before ``transactions``.
What is restored then looks like a stack whose processes ended a moment before its broker did, which loses nothing and decides nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.log import topics

#: the list of files, written last: a folder without it is no backup
LIST = "backup.json"
REDIS_DUMP = "redis/dump.rdb"
ARCHIVE_MANIFEST = "archive/manifest.sqlite"
#: what a start makes anew, or what is worthless elsewhere
LEFT_OUT = ("run", "logs", "prometheus", "alertmanager", "redis", "kafka", "archive")
#: read after the log: what is on the log may name a bundle
AFTER_LOG = ("bundles", "mlflow", "feast")
#: read before anything else, because they may only be older than the log
POSITIONS = ("__consumer_offsets", "__transaction_state", "__share_group_state")
#: from the end of the flow to its beginning
FLOW = tuple(
    topic.name
    for topic in (
        topics.OUTCOMES, topics.DRIFT, topics.DEAD_LETTERS, topics.DECISIONS, topics.FEATURES, topics.ENTITIES, topics.LABELS, topics.TRANSACTIONS,
    )
)  # fmt: skip
METADATA = "__cluster_metadata"


class BackupError(Exception):
    """A backup cannot be made, or is not whole; the text says what to do."""

    exit_code = 2


class BackedUpFile(msgspec.Struct, frozen=True, array_like=True):
    """A file of a backup: its size in bytes and the SHA-256 of its content."""

    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(min_length=64, max_length=64)]


class BackupList(msgspec.Struct, frozen=True, kw_only=True):
    """``backup.json``. ``home``: where it was taken; ``elsewhere``: parts that others back up."""

    format: Literal[1] = 1
    made_at: str
    code_version: str
    home: str
    running: bool
    elsewhere: list[str]
    files: dict[str, BackedUpFile]


def read_list(folder: Path) -> BackupList:
    """The list of a backup.

    Raises:
        BackupError: there is none, or it does not parse.
    """
    try:
        return msgspec.json.decode((folder / LIST).read_bytes(), type=BackupList)
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup, or one that was not finished: it has no {LIST}") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackupError(f"{folder / LIST} cannot be read: {error}") from error


def kafka_files(data: Path) -> Iterator[Path]:
    """The files of a broker's data folder in the order in which a running one is read.

    Index files are left out: a broker makes them again, and each takes 10 MB.
    """
    # recovery points first: the broker reads again what was appended after them
    yield from sorted(path for path in data.iterdir() if path.is_file() and path.name != ".lock")
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    for folder in sorted(folders, key=lambda path: (_rank(path.name), path.name)):
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.endswith("index")]
        # a segment last: what describes it may only be older
        yield from sorted(files, key=lambda path: (path.suffix == ".log", path.name))


def _rank(folder: str) -> int:
    name = folder.rpartition("-")[0]
    if name in POSITIONS:
        return 0
    if name == METADATA:
        # newer than what it describes
        return len(FLOW) + 3
    # topics outside the flow, such as `rollouts` and `audit`, directly after the positions
    return 2 + FLOW.index(name) if name in FLOW else 1
