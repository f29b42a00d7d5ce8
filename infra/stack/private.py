"""What a stack keeps from other users of the machine: folders of mode 0700, files of mode 0600, a password for Redis."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.stack.errors import StackError

#: no access for the group and for others
UMASK = 0o077


def private_folder(folder: Path) -> Path:
    """Create a folder that only this user may enter, or make an existing one so.

    Raises:
        StackError: it belongs to another user, or is no folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StackError(
            f"{folder} belongs to another user: remove it, or choose another --home (and TMPDIR)"
        )
    folder.chmod(0o700)
    return folder


def secret(path: Path) -> str:
    """The secret in a file of mode 0600, created with a random one if it is absent."""
    private_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(made := secrets.token_hex(24))
    return made


@contextmanager
def private_files() -> Iterator[None]:
    """Inside the block, this process creates files and folders that only this user may read."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)
