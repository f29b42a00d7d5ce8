"""``tollgate mapping suggest`` and ``check`` as a new user calls them: output, exit codes, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from features.attributes import Attribute
from services.cli.main import run
from streams.runtime.settings import Settings
from tests.support.mapped_files import write_csv

LINES = [
    "id,at,card,shop,amount,currency,is_fraud",
    "1,2026-01-01T10:00:00Z,c1,m1,12.50,EUR,1",
    "2,2026-01-02T10:00:00Z,c1,m2,1000,JPY,0",
]


@pytest.fixture
def home(tmp_path: Path) -> list[str]:
    return ["--home", str(tmp_path / "home")]


def test_suggest_then_check(tmp_path: Path, home: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path, out = str(write_csv(tmp_path, *LINES)), str(tmp_path / "mapping.toml")
    assert run(["mapping", "suggest", path, "--out", out, *home]) == 0
    assert "mapping check" in capsys.readouterr().err
    assert run(["mapping", "suggest", path, *home]) == 0
    assert capsys.readouterr().out == Path(out).read_text()
    assert run(["mapping", "check", path, "--mapping", out, "--json", *home]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [tx["amount_minor"] for tx in found["transactions"]] == [1250, 1000]
    assert found["file"]["labels"] == {"fraud": 1, "legit": 1, "none": 0}
    assert run(["mapping", "check", path, "--mapping", out, *home]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0])["transaction_id"] == "1" and any(
        "1 fraud, 1 legit, 0 none; as written: '1' 1, '0' 1" in line for line in lines
    )


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (('"amount"', '{ column = "amount", epoch = "s" }'), 2, "amount_minor cannot have epoch"),
        (('"amount"', '"amuont"'), 2, "no column amuont"),
        (('"amount"', '{ column = "shop" }'), 1, "no row is a transaction"),
        (("fraud = 1", 'fraud = "Y"'), 2, "its values are '1' (1), '0' (1)"),
        (("[fields]", "[fields"), 2, "mapping"),
    ],
)
def test_exit_codes(
    tmp_path: Path,
    home: list[str],
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    code: int,
    text: str,
) -> None:
    path, out = write_csv(tmp_path, *LINES), tmp_path / "mapping.toml"
    out.write_text(
        '[fields]\ntransaction_id = "id"\nevent_time = "at"\ncard_id = "card"\nmerchant_id = "shop"\namount_minor = "amount"\n'
        'currency = "currency"\n[label]\ncolumn = "is_fraud"\nfraud = 1\n'.replace(*change)
    )
    commands = (
        ["mapping", "check", str(path)],
        ["evaluate", str(path), "--train", "2026-01-01:2026-01-01", "--test", "2026-01-02:2026-01-02"],
        ["train", "--history", str(path)],
    )
    for command in commands:
        assert run([*command, "--mapping", str(out), *home]) == code, command
        shown = capsys.readouterr()
        assert text in shown.err and "Traceback" not in shown.err


def test_a_built_in_name_and_no_name(
    tmp_path: Path, home: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_csv(tmp_path, *LINES))
    assert run(["mapping", "check", path, "--mapping", "paysim", *home]) == 2
    assert "no column step, nameOrig" in capsys.readouterr().err
    assert run(["mapping", "check", path, "--mapping", "nowhere", *home]) == 2
    assert "handbook, sparkov, ulb" in capsys.readouterr().err


def test_suggest_knows_the_stack_s_attributes_and_says_what_to_fill_in(
    tmp_path: Path, home: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Settings(home=home[1], attributes={"loyalty_tier": Attribute("text")}).save()
    path, out = (
        write_csv(tmp_path, "LoyaltyTier,at,amount", "gold,2026-01-01T10:00:00Z,1.50"),
        tmp_path / "m.toml",
    )
    assert run(["mapping", "suggest", str(path), "--out", str(out), *home]) == 0
    assert (
        "To fill in, because nothing in the file looks like them: transaction_id, currency"
        in capsys.readouterr().err
    )
    assert run(["mapping", "check", str(path), "--mapping", str(out), *home]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["attributes"] == {"loyalty_tier": "gold"}
