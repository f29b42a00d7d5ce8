"""Makes a backup of a stack while traffic flows: state, log, registry, people and keys, audit, settings."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from features.store.redis_client import RespClient
from infra import stack
from infra.backup.contents import (
    AFTER_LOG,
    ARCHIVE_MANIFEST,
    LEFT_OUT,
    LIST,
    REDIS_DUMP,
    BackedUpFile,
    BackupError,
    BackupList,
    kafka_files,
)
from infra.disk import MIN_FREE_MB, free_mb
from infra.stack.private import private_files, private_folder
from infra.stack.servers import kafka, redis
from streams.runtime.settings import Settings

Progress = Callable[[str], None]
_CHUNK = 1 << 20
_DUMP_WITHIN_S, _LOOK_S = 600.0, 0.1
#: a file of the archive: topic, partition, first and last offset
_ARCHIVED = re.compile(r"(?P<topic>[a-z-]+)-(?P<partition>\d+)-(?P<first>\d+)-(?P<last>\d+)\.parquet")


def make_backup(settings: Settings, folder: Path, progress: Progress = lambda _text: None) -> BackupList:
    """Copy a stack into a new folder (mode 0700: it holds keys) and return its list. The stack goes on.

    Raises:
        BackupError: the folder is not empty, the disk is too small, or Redis makes no snapshot.
        StoreUnavailable: Redis does not answer.
    """
    if settings.embedded:
        raise BackupError("the embedded broker keeps nothing on disk: there is no log to back up")
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty: choose a new folder")
    running = stack.is_running(settings)
    _check_room(settings, folder)
    with private_files():
        private_folder(folder)
        copy = _Copy(settings.root, folder)
        try:
            _copy_all(settings, copy, running, progress)
            listed = BackupList(
                made_at=datetime.now(UTC).isoformat(timespec="seconds"), code_version=version("tollgate"), home=settings.home, running=running,
                elsewhere=_elsewhere(settings), files=copy.files,
            )  # fmt: skip
            waiting = folder / f".{LIST}"
            waiting.write_bytes(msgspec.json.format(msgspec.json.encode(listed)))
            _sync(waiting)
            waiting.replace(folder / LIST)
        except OSError as error:
            raise BackupError(f"the backup in {folder} was not finished: {error}") from error
    return listed


def _copy_all(settings: Settings, copy: _Copy, running: bool, progress: Progress) -> None:
    if settings.elsewhere.redis is None:
        progress("state: Redis' snapshot")
        if running:
            _dump(settings, copy)
        else:
            copy.tree(settings.root / "redis")
    progress("settings, people, keys")
    copy.some(_rest(settings.root))
    archive = settings.root / ARCHIVE_MANIFEST
    if archive.exists():
        copy.sqlite(archive)
    data = kafka.data_dir(settings)
    if settings.elsewhere.kafka is None and data.exists():
        progress("log")
        copy.some(kafka_files(data))
    progress("models, archive")
    for name in AFTER_LOG:
        copy.tree(settings.root / name)
    copy.some(_archived(settings, copy.folder / ARCHIVE_MANIFEST))


class _Copy:
    """Copies files of a home into a backup, with their hashes."""

    def __init__(self, home: Path, folder: Path) -> None:
        self._home = home
        self.folder = folder
        self.files: dict[str, BackedUpFile] = {}

    def tree(self, folder: Path) -> None:
        """All files below a folder, if there is one."""
        self.some(sorted(path for path in folder.rglob("*") if path.is_file()))

    def some(self, paths: Iterable[Path]) -> None:
        """Files. One that vanishes meanwhile was deleted by its owner: retention, or a finished temporary file."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if path.suffix in (".sqlite", ".db"):
                    self.sqlite(path)
                elif not path.name.endswith(("-wal", "-shm")):
                    self.one(path, str(path.relative_to(self._home)))

    def sqlite(self, path: Path) -> None:
        """A database that others write to, as of one moment."""
        name = str(path.relative_to(self._home))
        target = self._target(name)
        source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        copied = sqlite3.connect(target)
        try:
            source.backup(copied)
        except sqlite3.Error as error:
            raise BackupError(f"{path} cannot be copied: {error}") from error
        finally:
            copied.close()
            source.close()
        self._note(name, target)

    def one(self, path: Path, name: str) -> None:
        """One file under a name; of a file that grows, what it holds when its end is reached."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as source, self._target(name).open("wb") as copied:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += copied.write(chunk)
            copied.flush()
            os.fsync(copied.fileno())
        self.files[name] = BackedUpFile(size, digest.hexdigest())

    def _target(self, name: str) -> Path:
        target = self.folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return target

    def _note(self, name: str, target: Path) -> None:
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _sync(target)
        self.files[name] = BackedUpFile(target.stat().st_size, digest)


def _dump(settings: Settings, copy: _Copy) -> None:
    """Let Redis write a snapshot of this moment, and copy it."""
    written = redis.data_dir(settings) / "dump.rdb"
    client = RespClient(settings.redis_address, 30.0)
    try:
        until = time.monotonic() + _DUMP_WITHIN_S
        _until_idle(client, until)
        written.unlink(missing_ok=True)
        _said(client, "BGSAVE", "SCHEDULE")
        while not written.exists() or _persistence(client)["rdb_bgsave_in_progress"] != "0":
            if time.monotonic() > until:
                raise BackupError(f"Redis wrote no snapshot within {_DUMP_WITHIN_S:g} s")
            if _persistence(client)["rdb_last_bgsave_status"] != "ok":
                raise BackupError("Redis cannot write a snapshot: its log and the free space of the disk say why")  # fmt: skip
            time.sleep(_LOOK_S)
        copy.one(written, REDIS_DUMP)
        written.unlink(missing_ok=True)
    finally:
        client.close()


def _until_idle(client: RespClient, until: float) -> None:
    """Wait for the end of a snapshot that somebody else asked for: it may be of an earlier moment."""
    while _persistence(client)["rdb_bgsave_in_progress"] != "0":
        if time.monotonic() > until:
            raise BackupError(f"an earlier snapshot of Redis did not end within {_DUMP_WITHIN_S:g} s")
        time.sleep(_LOOK_S)


def _persistence(client: RespClient) -> dict[str, str]:
    text = _said(client, "INFO", "persistence").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _said(client: RespClient, *command: str) -> Any:
    (reply,) = client.call([command])
    if isinstance(reply, Exception):
        raise BackupError(f"Redis refuses {command[0]}: {reply}")
    return reply


def _rest(home: Path) -> list[Path]:
    """Everything that has no place of its own in the order."""
    apart = {*LEFT_OUT, *AFTER_LOG}
    return sorted(
        path
        for path in home.rglob("*")
        if path.relative_to(home).parts[0] not in apart and path.is_file() and not path.is_symlink()
    )


def _archived(settings: Settings, manifest: Path) -> list[Path]:
    """The archive's files that the copied manifest knows; the rows of later ones come again from the log."""
    root = settings.archive_dir
    if not manifest.exists():
        return []
    database = sqlite3.connect(manifest)
    try:
        rows = database.execute("SELECT topic, partition, next_offset FROM positions").fetchall()
    finally:
        database.close()
    known = {(topic, partition): offset for topic, partition, offset in rows}

    def holds(path: Path) -> bool:
        found = _ARCHIVED.fullmatch(path.name)
        return found is None or int(found["last"]) < known.get((found["topic"], int(found["partition"])), 0)

    return sorted(path for path in root.rglob("*.parquet") if not path.name.startswith(".") and holds(path))


def _elsewhere(settings: Settings) -> list[str]:
    return [name for name in ("kafka", "redis", "mlflow") if getattr(settings.elsewhere, name) is not None]


def _check_room(settings: Settings, folder: Path) -> None:
    apart = settings.root / "logs"
    needed = sum(path.lstat().st_blocks * 512 for path in settings.root.rglob("*") if path.is_file() and apart not in path.parents) >> 20  # fmt: skip
    left = free_mb(folder)
    if left < needed + MIN_FREE_MB:
        raise BackupError(
            f"the disk of {folder} has {left:,} MB free, and the stack holds up to {needed:,} MB"
        )


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_unfinished(folder: Path) -> None:
    """Delete what an interrupted backup left, which has no list and restores nothing."""
    if folder.is_dir() and not (folder / LIST).exists():
        shutil.rmtree(folder, ignore_errors=True)
