"""What a stack keeps from other users, and one start at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.stack import StackError, settings_for, turn_to_start
from infra.stack.private import private_files, private_folder, secret
from infra.stack.servers import redis
from tests.support.waiting import STALL_S, until


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_is_closed_whoever_made_it(tmp_path: Path) -> None:
    open_before = tmp_path / "open"
    open_before.mkdir(mode=0o777)
    for folder in (open_before, tmp_path / "new" / "one"):
        assert mode(private_folder(folder)) == 0o700
    link = tmp_path / "link"
    link.symlink_to(open_before)
    with pytest.raises(StackError, match="belongs to another user"):
        private_folder(link)


def test_a_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "word"
    first = secret(path)
    assert len(first) == 48
    path.chmod(0o644)
    assert secret(path) == first
    assert mode(path) == 0o600


def test_files_made_inside_are_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with private_files():
            (tmp_path / "in").touch()
        (tmp_path / "out").touch()
    finally:
        os.umask(before)
    assert mode(tmp_path / "in") == 0o600
    assert mode(tmp_path / "out") == 0o644


def test_redis_asks_for_the_stacks_password_and_no_screen_shows_it(tmp_path: Path) -> None:
    settings = redis.with_password(settings_for(tmp_path, 21000, redis_socket="/r/redis.sock"))
    password = (settings.keys_dir / "redis.password").read_text()
    assert f"requirepass {password}" in redis.config(settings).splitlines()
    assert settings.redis == f"redis://:{password}@127.0.0.1:21002"
    assert settings.redis_address == f"unix://:{password}@/r/redis.sock"
    assert settings.redis_shown == "redis://127.0.0.1:21002"
    assert redis.with_password(settings) == settings
    assert mode(settings.save()) == 0o600


def test_a_second_start_waits_for_the_first(tmp_path: Path) -> None:
    home, told = tmp_path / "home", []
    entered = threading.Event()

    def second() -> None:
        with turn_to_start(home, STALL_S, told.append):
            entered.set()

    waiting = threading.Thread(target=second)
    with turn_to_start(home, STALL_S, told.append):
        (home / "settings.json").touch()
        waiting.start()
        until(lambda: told, STALL_S, "the word that it waits")
        assert f"another `tollgate up` (pid {os.getpid()})" in told[0]
        assert not entered.is_set()
    waiting.join(STALL_S)
    assert entered.is_set()


def test_a_start_that_waits_too_long_is_told_by_whom(tmp_path: Path) -> None:
    code = "import sys, infra.stack as s, pathlib\nwith s.turn_to_start(pathlib.Path(sys.argv[1]), 1, print): input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as holder:
        lock = tmp_path / "up.lock"
        until(lambda: lock.exists() and lock.read_text() == str(holder.pid), STALL_S, "the lock")
        with (
            pytest.raises(StackError, match=rf"pid {holder.pid}\) has been starting"),
            turn_to_start(tmp_path, 0, str),
        ):
            pass
        holder.communicate(b"\n", STALL_S)
    with turn_to_start(tmp_path, 0, str):
        assert lock.read_text() == str(os.getpid())


def test_a_refused_start_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StackError), turn_to_start(tmp_path / "home", 1, str):
        raise StackError("port 1 is taken")
    assert not (tmp_path / "home").exists()
