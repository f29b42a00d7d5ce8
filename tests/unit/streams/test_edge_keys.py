"""The file of keys that seal decisions: made once, readable by its owner only, rotated while processes run."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli.main import cli
from streams.log.seal import DECIDED, Forged, opened, sealed
from streams.runtime.edge_keys import (
    LOOK_EVERY_S,
    EdgeKeys,
    EdgeKeysError,
    ensure_keys,
    read_keys,
    retire,
    rotate,
)
from streams.runtime.settings import Settings


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys" / "edge.keys")
    return tmp_path / "keys" / "edge.keys"


def test_a_file_is_made_once_for_its_owner_only(path: Path) -> None:
    made = read_keys(path)
    ensure_keys(path)
    assert read_keys(path) == made and len(made.keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_rotation_refuses_nothing_in_whatever_order_processes_notice_it(path: Path) -> None:
    clock = Clock()
    edge, processor = EdgeKeys(path, clock), EdgeKeys(path, clock)
    before = sealed(edge.newest(), DECIDED, b"value", b"said")
    rotate(path)
    assert sealed(edge.newest(), DECIDED, b"value", b"said") == before
    clock.now_s = LOOK_EVERY_S
    after = sealed(edge.newest(), DECIDED, b"value", b"said")
    assert after != before
    # without its own time to look
    clock.now_s = 0.0
    for seal in (before, after):
        assert opened(processor, DECIDED, b"value", seal) == b"said"
    retire(path)
    clock.now_s = 2 * LOOK_EVERY_S
    with pytest.raises(Forged) as refused:
        opened(processor, DECIDED, b"value", before)
    assert refused.value.reason == "unknown_key"
    assert opened(processor, DECIDED, b"value", after) == b"said"


def test_a_second_rotation_ends_the_first_key(path: Path) -> None:
    first = read_keys(path).newest()
    second = rotate(path).newest()
    assert [key.id for key in rotate(path).keys[1:]] == [second.id]
    assert read_keys(path).find(first.id) is None


@pytest.mark.parametrize(
    "text", ["", "00" * 32 + "\n" + "11" * 31, "x" * 64, "00" * 32 + "\n" + "11" * 32 + "\n" + "22" * 32]
)
def test_a_file_that_is_none_is_refused_by_name(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(EdgeKeysError, match=str(path)):
        read_keys(path)


def test_a_file_open_to_others_is_refused_with_the_way_out(path: Path) -> None:
    path.chmod(0o640)
    with pytest.raises(EdgeKeysError, match="chmod 600"):
        EdgeKeys(path)


def test_a_running_process_keeps_its_keys_while_the_file_is_unusable(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    running = EdgeKeys(path, clock)
    key = running.newest()
    path.unlink()
    clock.now_s = LOOK_EVERY_S
    with caplog.at_level(logging.ERROR):
        assert running.newest() == key
        clock.now_s *= 2
        assert running.find(key.id) == key
    assert len(caplog.records) == 1


def test_the_commands_show_ids_and_never_keys(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path))
    settings.save()
    ensure_keys(settings.edge_keys_path)
    shown = []
    for command in ("list", "rotate", "list", "retire"):
        done = CliRunner().invoke(
            cli, ["keys", command, "--home", str(tmp_path), "--json"], catch_exceptions=False
        )
        assert done.exit_code == 0
        shown.append(json.loads(done.output))
        assert settings.edge_keys_path.read_text().split()[0] not in done.output
    listed, rotated, again, retired = shown
    assert rotated == again and rotated["accepted"] == [rotated["seals"], listed["seals"]]
    assert retired["accepted"] == [rotated["seals"]]
