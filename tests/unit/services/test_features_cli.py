"""``tollgate features``: the catalogue, profiles as of a moment, and clear words when there is nothing to show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.catalogue import FEATURES, INDEX, NAMES
from features.describe import describe_payer, describe_shared_entity
from features.feast_repo.archived import SCHEMA
from features.kernels.columns import columns_of
from features.kernels.shared_entity import LABEL, PAID, apply_items
from features.profile.codec import encode_profiles
from features.profile.records import FRAUDS, SHARED_ENTITY, new_arena
from features.store.keys import key
from features.store.profiles.batch import Gather
from features.store.redis_client import RespClient, StoreUnavailable
from features.store.views import CARD_STATE, MERCHANT_STATE
from features.transaction import Transaction, epoch_ms
from infra.stack.tools import find_tools
from services.cli.main import run
from streams.runtime.settings import Settings

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR_MS = 3_600_000


def payment(number: int, hours: float) -> Transaction:
    return Transaction(
        transaction_id=f"t{number}",
        event_time=datetime.fromtimestamp(NOON.timestamp() + hours * 3600, tz=UTC),
        card_id="card-1",
        merchant_id="m-1",
        amount_minor=100 * number,
        currency="EUR",
        country="FR",
        latitude=48.85,
        longitude=2.35,
    )


def card_profile(hours: list[float]) -> Gather:
    payments = [payment(number, at) for number, at in enumerate(hours, 1)]
    gather = Gather(payments)
    gather.compute(
        columns_of(payments, [tx.event_ms for tx in payments], list(range(len(payments)))), apply=True
    )
    return gather


def merchant_profile() -> np.ndarray:
    arena = new_arena(SHARED_ENTITY, 1)
    noon_ms = epoch_ms(NOON)
    times = np.array([noon_ms - 2 * HOUR_MS, noon_ms, noon_ms], dtype=np.int64)
    apply_items(
        np.zeros(3, np.int64), np.arange(3), np.array([PAID, PAID, LABEL]), times, np.array([500, 700, 0]),
        np.array([1, 2, 0], dtype=np.uint32), np.array([0, 0, 1]), arena,
    )  # fmt: skip
    return arena


def test_windows_of_a_card_are_as_of_the_moment_asked_for() -> None:
    gather = card_profile([0, 0.5, 30])
    no_frauds = new_arena(FRAUDS, 1)
    then = describe_payer(gather.cards, no_frauds, epoch_ms(NOON) + HOUR_MS // 2)
    assert then["windows"]["1h"] == {"count": 2, "sum_minor": 300}
    assert [event["amount_minor"] for event in then["last_events"]] == [200, 100]
    later = describe_payer(gather.cards, no_frauds, epoch_ms(NOON) + 30 * HOUR_MS)
    assert later["windows"]["1h"] == {"count": 1, "sum_minor": 300}
    assert later["windows"]["7d"] == {"count": 3, "sum_minor": 600}
    assert (later["usual_country"], later["usual_place"], later["applied_offset"]) == ("FR", [48.85, 2.35], 2)


def test_a_merchant_shows_what_the_kernel_reads() -> None:
    known = describe_shared_entity(merchant_profile(), "merchant", epoch_ms(NOON))
    assert known["features"]["merchant_count_1h"] == 1
    assert known["features"]["merchant_count_24h"] == 2
    assert known["features"]["merchant_mean_30d"] == 600
    assert known["frauds_by_day"] == {"2026-03-02": 1}
    assert "merchant_amount_ratio_mean_30d" not in known["features"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack's folder with a Redis behind it that knows one card and one merchant."""
    program = find_tools().redis_server
    assert program is not None, "the system's or the one from a wheel: `make setup` brings either"
    home = tmp_path_factory.mktemp("home")
    path = home / "redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(home)],
        stdout=subprocess.DEVNULL,
    )
    try:
        settings = Settings(home=str(home), redis_socket=str(path))
        settings.save()
        client = RespClient(settings.redis_address)
        end = time.monotonic() + 10
        while True:
            try:
                client.call([("PING",)])
                break
            except StoreUnavailable:
                assert time.monotonic() < end, "redis-server did not start"
                time.sleep(0.02)
        for view, name, arena in (
            (CARD_STATE, "card-1", card_profile([0, 0.5]).cards),
            (MERCHANT_STATE, "m-1", merchant_profile()),
        ):
            client.call(
                [("SET", key(view, name, settings.partitions), encode_profiles(arena, np.array([0]), 0)[0])]
            )
        client.close()
        yield home
    finally:
        process.terminate()
        process.wait(10)


def test_show_reads_the_store(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = "2026-03-02T13:15:00+01:00"
    assert run(["features", "show", "card", "card-1", "--home", str(stored), "--at", at, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["at"], card["windows"]["1h"]["count"]) == ("2026-03-02T12:15:00.000Z", 1)
    assert run(["features", "show", "card", "card-1", "--home", str(stored)]) == 0
    text = capsys.readouterr().out
    assert "as of 2026-03-02T12:30:00.000Z" in text
    assert "usual country        FR" in text
    assert run(["features", "show", "merchant", "m-1", "--home", str(stored)]) == 0
    assert "2026-03-02      1" in capsys.readouterr().out


def archived(home: Path, day: str, *rows: tuple[float, int, str]) -> None:
    """Archived payments of card-1 and m-1: hours after noon, amount, currency."""
    folder = Settings(home=str(home)).archive_dir / "features" / f"date={day}"
    folder.mkdir(parents=True)
    payments = [
        {"transaction_id": f"a{i}", "card_id": "card-1", "merchant_id": "m-1", "tenant": "default", "amount_minor": minor,
         "currency": currency, "event_timestamp": datetime.fromtimestamp(NOON.timestamp() + hours * 3600, tz=UTC)}
        for i, (hours, minor, currency) in enumerate(rows)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(payments, schema=SCHEMA), folder / "part.parquet")


def shown(stored: Path, capsys: pytest.CaptureFixture[str], *entity: str) -> str:
    assert run(["features", "show", *entity, "--home", str(stored)]) == 0
    return capsys.readouterr().out


def test_money_is_shown_in_the_currency_of_the_archived_payments(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Settings(home=str(stored)).archive_dir
    # nothing says it yet
    text = shown(stored, capsys, "card", "card-1")
    assert "300 minor units" in text
    assert "no archived payment says in which currency" in text
    try:
        archived(stored, "2026-03-02", (0, 100, "EUR"), (0.5, 200, "EUR"))
        text = shown(stored, capsys, "card", "card-1")
        assert re.search(r"1h +2 +3\.00 EUR\n", text)
        assert re.search(r"2026-03-02T12:30:00.000Z +2\.00 EUR\n", text)
        assert "minor units" not in text
        assert re.search(r"merchant_mean_30d +6\.00 EUR\n", shown(stored, capsys, "merchant", "m-1"))
        # of two currencies a sum is of neither
        shutil.rmtree(archive)
        archived(stored, "2026-03-02", (0, 100, "EUR"), (0.5, 200, "JPY"))
        text = shown(stored, capsys, "card", "card-1")
        assert "minor units of EUR, JPY, added as they are" in text
        assert re.search(r"1h +2 +300 minor units\n", text)
        assert re.search(r"2026-03-02T12:30:00.000Z +200 JPY\n", text)
        assert re.search(r"2026-03-02T12:00:00.000Z +1\.00 EUR\n", text)
        assert run(["features", "show", "card", "card-1", "--home", str(stored), "--json"]) == 0
        card = json.loads(capsys.readouterr().out)
        assert (card["currencies"], card["last_events"][0]["currency"]) == (["EUR", "JPY"], "JPY")
        assert card["windows"]["1h"]["sum_minor"] == 300
    finally:
        shutil.rmtree(archive, ignore_errors=True)


def test_nothing_known_bad_time_and_no_store_have_their_exit_codes(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show = ["features", "show", "card"]
    assert run([*show, "card-9", "--home", str(stored)]) == 1
    assert "nothing is stored about card card-9" in capsys.readouterr().err
    for bad in ("yesterday", "2026-03-02T12:00:00"):
        assert run([*show, "card-1", "--home", str(stored), "--at", bad]) == 2
    assert run([*show, "card-1", "--home", str(tmp_path)]) == 3
    Settings(home=str(tmp_path), redis_socket=str(tmp_path / "absent.sock")).save()
    capsys.readouterr()
    assert run([*show, "card-1", "--home", str(tmp_path)]) == 3
    assert "tollgate status" in capsys.readouterr().err


def test_the_catalogue_lists_every_feature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["features", "catalogue", "--json", "--home", str(tmp_path)]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [feature["name"] for feature in listed["features"]] == list(NAMES)
    assert all(row.keys() == {field.name for field in fields(FEATURES[0])} for row in listed["features"])
    # what is without a number is null, so that every reader of JSON takes it
    assert [row["known_late_s"] for row in listed["features"]] == [
        feature.known_late_s for feature in FEATURES
    ]
    assert {row["default"] for row in listed["features"]} == {None, 0}
    assert run(["features", "catalogue", "--home", str(tmp_path)]) == 0
    assert "merchant_fraud_rate_30d" in capsys.readouterr().out


def test_the_catalogue_says_all_of_one_feature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show, home = ["features", "catalogue"], ["--home", str(tmp_path)]
    assert run([*show, "merchant_fraud_rate_7d", *home]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[0] != " ")
    feature = FEATURES[INDEX["merchant_fraud_rate_7d"]]
    assert set(said) == {field.name for field in fields(feature)}
    assert (said["label_delay_s"], said["default"]) == (str(feature.label_delay_s), "0")
    assert (said["uses_labels"], said["state_bytes"]) == ("yes", str(feature.state_bytes))
    assert feature.reason_text.startswith(said["reason_text"])
    assert (said["look_back_s"], said["reads"]) == (str(feature.look_back_s), "third_count, third_fraud")
    assert run([*show, "card_new_device", *home]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[0] != " ")
    assert (said["look_back_s"], said["default"]) == ("without limit", "unknown")
    assert run([*show, "merchant_fraud_rate_7d", "--json", *home]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["features"]] == [feature.name]
    assert run([*show, "merchant_frauds_7d", *home]) == 2
    assert "merchant_fraud_rate_7d" in capsys.readouterr().err
