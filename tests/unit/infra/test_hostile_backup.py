"""A backup that somebody else made: it may say anything, and writes nothing outside of the home that it is restored to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from infra.backup.contents import LIST, BackupError, read_list
from infra.backup.restoring import check_backup, restore_backup
from infra.stack import settings_for
from streams.runtime.settings import SETTINGS_FILE


def made(folder: Path, files: dict[str, bytes]) -> Path:
    """A whole backup with these files and the settings of a stack, as its list names them."""
    settings = settings_for(folder / "home", 21000).save().read_bytes()
    listed = {}
    for name, content in {SETTINGS_FILE: settings, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_symlink():
            path.write_bytes(content)
        listed[name] = [len(content), hashlib.sha256(content).hexdigest()]
    said = {
        "made_at": "2026-11-30",
        "code_version": "x",
        "home": "/h",
        "running": False,
        "elsewhere": [],
        "files": listed,
    }
    (folder / LIST).write_bytes(msgspec.json.encode(said))
    return folder


@pytest.mark.parametrize(
    "name", ["../backup/evil", "bundles/../../backup/evil", "keys/../evil", "/tmp/backup/evil"]
)
def test_no_file_is_written_beside_the_home(tmp_path: Path, name: str) -> None:
    (tmp_path / "backup" / "bundles").mkdir(parents=True)
    (tmp_path / "backup" / "keys").mkdir()
    name = name.replace("/tmp", str(tmp_path))
    folder = made(tmp_path / "backup", {name: b"evil"})
    home = tmp_path / "elsewhere" / "home"
    with pytest.raises(BackupError, match="outside the backup"):
        restore_backup(folder, home)
    assert not home.exists() and not (tmp_path / "elsewhere").exists()


def test_what_a_link_points_to_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    folder = tmp_path / "backup"
    folder.mkdir()
    (folder / "keys").symlink_to(tmp_path / "mine")
    with pytest.raises(BackupError, match="outside the backup"):
        restore_backup(made(folder, {"keys": b"mine"}), tmp_path / "home")


def test_a_pipe_in_place_of_a_file_does_not_hold_the_command(tmp_path: Path) -> None:
    folder = made(tmp_path / "backup", {"keys/a": b""})
    (folder / "keys" / "a").unlink()
    os.mkfifo(folder / "keys" / "a")
    with pytest.raises(BackupError, match="is missing"):
        check_backup(folder)


@pytest.mark.parametrize(
    "text", [b'{"files": ' + b"[" * 100_000, b'{"x": ' + b"[" * 100_000, b"\xff\xfe", b"[]", b'{"format": 2}']
)
def test_a_list_that_is_none_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / LIST).write_bytes(text)
    with pytest.raises(BackupError, match="cannot be read"):
        read_list(tmp_path)
