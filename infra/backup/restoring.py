"""Restores a backup into an empty home; `tollgate up` then starts the stack."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from infra.backup.contents import REDIS_DUMP, BackupError, BackupList, read_list
from infra.disk import MIN_FREE_MB, free_mb
from infra.stack.ports import settings_for
from infra.stack.private import private_files, private_folder
from streams.runtime.settings import SETTINGS_FILE, Settings

Progress = Callable[[str], None]
#: Redis reads the append-only file that its manifest names; a base file may be a snapshot
_AOF, _BASE = "redis/appendonlydir", "appendonly.aof.1.base.rdb"
_AOF_MANIFEST = f"file {_BASE} seq 1 type b\n"


def check_backup(folder: Path, progress: Progress = lambda _text: None) -> BackupList:
    """The list of a backup whose files are all there and unchanged.

    Raises:
        BackupError: it is no backup, or a file is missing or changed.
    """
    listed = read_list(folder)
    progress(f"checking {len(listed.files):,} files")
    for name, file in listed.files.items():
        path, named = folder / name, Path(name)
        # also what comes back by its parent (``../backup/x``): beside another home it would lie elsewhere
        if named.is_absolute() or ".." in named.parts or not path.resolve().is_relative_to(folder.resolve()):
            raise BackupError(f"{folder}: {name} lies outside the backup")
        if not path.is_file():
            raise BackupError(f"{folder} is not whole: {name} is missing")
        with path.open("rb") as source:
            if path.stat().st_size != file.size or hashlib.file_digest(source, "sha256").hexdigest() != file.sha256:  # fmt: skip
                raise BackupError(f"{folder} is not whole: {name} was changed")
    return listed


def restore_backup(
    folder: Path, home: Path, port_base: int | None = None, progress: Progress = lambda _text: None
) -> Settings:
    """Restore a backup into a home that is empty or does not exist; returns the settings there. Nothing is started.

    Args:
        port_base: the ports of the restored stack; None: those it had.

    Raises:
        BackupError: the backup is not whole, the home is not empty, or the disk is too small; nothing is left there.
    """
    listed = check_backup(folder, progress)
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty: a backup is restored into a new folder")
    needed = sum(file.size for file in listed.files.values()) >> 20
    if free_mb(home) < needed + MIN_FREE_MB:
        raise BackupError(f"the disk of {home} has {free_mb(home):,} MB free, but {needed:,} MB are needed")
    with private_files():
        private_folder(home)
        try:
            progress(f"copying {needed:,} MB")
            for name in listed.files:
                target = home / (f"{_AOF}/{_BASE}" if name == REDIS_DUMP else name)
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target)
            if REDIS_DUMP in listed.files:
                (home / _AOF / "appendonly.aof.manifest").write_text(_AOF_MANIFEST)
            settings = moved(home, port_base)
            settings.save()
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            shutil.rmtree(home, ignore_errors=True)
            raise BackupError(f"{folder} cannot be restored to {home}: {error}") from error
    return settings


def moved(home: Path, port_base: int | None) -> Settings:
    """The restored settings with the folder and the ports of here."""
    old = msgspec.json.decode((home / SETTINGS_FILE).read_bytes(), type=Settings)
    base = port_base if port_base is not None else old.port_base
    there = settings_for(Path(old.home), old.port_base, secure=old.secure)
    here = settings_for(home, base, secure=old.secure)
    changed = {
        name: getattr(here, name)
        for name in Settings.__struct_fields__
        if getattr(old, name) == getattr(there, name) and getattr(here, name) != getattr(there, name)
    }
    if old.elsewhere.redis is None:
        # without its password, which `up` reads from the restored keys
        changed["redis"] = here.redis
    return msgspec.structs.replace(
        old, **{**changed, "home": str(home), "port_base": base, "redis_socket": "", "temp": ""}
    )
