"""One-time links for the console, as the command line makes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.cli.main import run
from services.cli.stack import first_link
from streams.access.identity import add_person, prepare, user_name
from streams.access.logins import link_owner, login_of, use_link
from streams.runtime.settings import Settings

PASSWORD = "correct horse battery"


def test_a_command_prints_a_link_for_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(tmp_path)
    assert run(["access", "add", "anna", "--role", "analyst", "--home", home]) == 0
    capsys.readouterr()
    assert (
        run(["access", "link", "anna", "--tenant", "shop-a", "--tenant", "shop-b", "--home", home, "--json"])
        == 0
    )
    answer = json.loads(capsys.readouterr().out)
    base, _, token = answer["link"].partition("#")
    assert base == "http://127.0.0.1:19008/welcome"
    login = use_link(tmp_path / "access", token, PASSWORD, datetime.now(UTC))
    assert (login.name, login.tenants) == ("anna", ("shop-a", "shop-b"))
    # without --tenant it stays as it was
    assert run(["access", "link", "anna", "--home", home]) == 0
    found = login_of(tmp_path / "access", "anna")
    assert found is not None
    assert (found.tenants, bool(found.password)) == (("shop-a", "shop-b"), True)
    assert run(["access", "link", "bob", "--home", home]) == 2
    assert run(["access", "link", "anna", "--as", "anna", "--home", home]) == 1


def test_the_first_start_prints_a_link_until_somebody_has_a_password(tmp_path: Path) -> None:
    settings, now = Settings(home=str(tmp_path)), datetime.now(UTC)
    prepare(settings.access_dir, now)
    text = first_link(settings, now)
    assert text is not None
    token = text.rpartition("#")[2]
    owner = link_owner(settings.access_dir, token, now)
    assert owner is not None
    assert owner.name == user_name()
    # an admin takes over: the link is for who may add people
    add_person(settings.access_dir, "root-admin", "admin", by=user_name(), now=now)
    second = first_link(settings, now)
    assert second is not None
    assert "root-admin" in second
    use_link(settings.access_dir, second.rpartition("#")[2], PASSWORD, now)
    assert first_link(settings, now) is None
