"""``tollgate rules`` as an analyst types it: clear errors, a test against a past small enough to work out by hand."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from features.attributes import Attribute, Attributes
from features.catalogue import NAMES
from features.feast_repo.archived import SCHEMA as FEATURES
from features.feast_repo.archived import schema_with
from models.bundle.registry import states
from models.policy.policy import TRAINER, Policy, Rule, parse_policy
from services.cli.main import run
from streams.archive.tables import DECISION_SCHEMA, OUTCOME_SCHEMA
from streams.archive.writer import write_parquet
from streams.runtime.settings import Settings
from tests.support.policy_samples import publish_with

NEWEST = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIVE = Policy(
    version="7", review=0.5, decline=0.9,
    rules=(Rule("far", "card_speed_kmh > 900", "review", TRAINER), Rule("old", "score > 0.45", "review", "bob")),
)  # fmt: skip
GOOD = """
[[rules]]
name = "dear-and-abroad"
when = "amount_minor >= 10000 AND country <> 'FR'"
action = "decline"
owner = "ann"

[[lists]]
name = "stolen"
kind = "block"
field = "device_id"
owner = "ann"
expires = 2100-01-01T00:00:00Z
entries = ["d-bad", { value = "d-other", reason = "chargebacks" }]

[[lists]]
name = "known-good"
kind = "allow"
field = "card_id"
owner = "ann"
file = "good.csv"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    publish_with(tmp_path, LIVE)
    return tmp_path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "good.csv").write_text(
        "value,expires\nc-good,2100-01-01T00:00:00Z\nc-ended,2020-01-01T00:00:00Z\n"
    )
    path = tmp_path / "rules.toml"
    path.write_text(GOOD)
    return path


def answer(capsys: pytest.CaptureFixture[str], *args: object) -> Any:
    assert run([*map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


DECLINED = "declined"
#: days ago, amount, currency, country, device, card, speed, score, label (DECLINED: none, and the payment was declined)
PAST = [
    (1, 20_000, "EUR", "NG", "d-1", "c-1", 0.0, 0.10, "fraud"),  # dear-and-abroad: approve to decline, fraud caught
    (1, 30_000, "USD", "DE", "d-1", "c-2", 0.0, 0.60, "legit"),  # dear-and-abroad: review to decline, a false alarm already
    (1, 9_999, "EUR", "NG", "d-bad", "c-3", 0.0, 0.10, None),  # stolen: approve to decline, too recent for a label
    (2, 500, "EUR", "FR", None, "c-good", 0.0, 0.95, "legit"),  # known-good: decline to approve, a false alarm less
    (2, 700, "EUR", "FR", None, "c-ended", 0.0, 0.95, "fraud"),  # its entry has ended: decline stays
    (3, 800, "EUR", None, None, "c-4", 999.0, 0.20, None),  # far, the trainer's, stays: review stays
    (3, 900, "EUR", "FR", None, "c-5", 0.0, 0.47, "fraud"),  # old is gone: review to approve, fraud missed
    (9, 40_000, "EUR", "NG", None, "c-6", 0.0, 0.10, None),  # only with 30 days: old enough to count as honest
    (9, 50_000, "JPY", "NG", None, "c-7", 0.0, None, "fraud"),  # without a score: review to decline
    (3, 60_000, "EUR", "NG", None, "c-8", 0.0, 0.10, DECLINED),  # dear-and-abroad, declined at the time: nobody knows
    (9, 60_000, "EUR", "NG", None, "c-9", 0.0, 0.10, DECLINED),  # nor later: it is never honest
]  # fmt: skip


def archive(home: Path) -> None:
    for number, (days, amount, currency, country, device, card, speed, score, label) in enumerate(PAST):
        at = NEWEST - timedelta(days=days)
        _row(home, "features", FEATURES, number, at, transaction_id=f"tx-{number}", card_id=card, merchant_id="m", tenant="default",
             amount_minor=amount, currency=currency, country=country, device_id=device,
             **{name: float("nan") for name in NAMES} | {"card_speed_kmh": speed})  # fmt: skip
        _row(home, "decisions", DECISION_SCHEMA, number, at, transaction_id=f"tx-{number}", score=score,
             decision="decline" if label == DECLINED else "approve")  # fmt: skip
        if label not in (None, DECLINED):
            # an earlier label said otherwise: the newest counts
            for hours, said in ((1, "legit" if label == "fraud" else "fraud"), (2, label)):
                _row(home, "outcomes", OUTCOME_SCHEMA, 10 * number + hours, at, transaction_id=f"tx-{number}", label=said,
                     label_time=at + timedelta(hours=hours))  # fmt: skip
    # the newest event, which sets the clock, is not decided yet
    _row(home, "features", FEATURES, 99, NEWEST, transaction_id="tx-99", amount_minor=1, currency="EUR")


def _row(home: Path, topic: str, schema: pa.Schema, number: int, at: datetime, **values: Any) -> None:
    row = dict.fromkeys(schema.names) | values | {"event_timestamp": at}
    path = (
        home / "archive" / topic / f"date={at.date()}" / f"{topic}-0-{number}-{number}-{len(values)}.parquet"
    )
    write_parquet(path, pa.Table.from_pylist([row], schema))


def test_a_file_against_the_past(home: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive(home)
    found = answer(capsys, "rules", "test", good, "--since", "7d", "--home", home)
    assert found["rows"] == 8
    assert found["labels"] == {"fraud": 3, "honest": 2, "censored": 1, "unknown": 2}
    assert found["changed"] == {
        "approve to decline": 3, "decline to approve": 1, "review to approve": 1, "review to decline": 1,
    }  # fmt: skip
    assert found["rules"] == {
        "far": {"matched": 1, "changed": 0, "fraud": 0, "honest": 0, "censored": 0, "unknown": 1},
        "dear-and-abroad": {"matched": 3, "changed": 3, "fraud": 1, "honest": 1, "censored": 1, "unknown": 0},
        "stolen": {"matched": 1, "changed": 1, "fraud": 0, "honest": 0, "censored": 0, "unknown": 1},
        "known-good": {"matched": 1, "changed": 1, "fraud": 0, "honest": 1, "censored": 0, "unknown": 0},
    }
    assert found["before"] == {
        "decisions": {"approve": 3, "review": 3, "decline": 2}, "frauds_caught": 2, "frauds_missed": 1, "false_alarms": 2,
        "caught_minor": {"EUR": 1_600}, "missed_minor": {"EUR": 20_000}, "false_alarms_minor": {"EUR": 500, "USD": 30_000},
    }  # fmt: skip
    assert found["after"] == {
        "decisions": {"approve": 2, "review": 1, "decline": 5}, "frauds_caught": 2, "frauds_missed": 1, "false_alarms": 1,
        "caught_minor": {"EUR": 20_700}, "missed_minor": {"EUR": 900}, "false_alarms_minor": {"USD": 30_000},
    }  # fmt: skip
    assert [(each["change"], each["transaction_id"], each["label"], each["rules"]) for each in found["samples"]] == [
        ("approve to decline", "tx-2", "unknown", ["stolen"]), ("approve to decline", "tx-0", "fraud", ["dear-and-abroad"]),
        ("approve to decline", "tx-9", "censored", ["dear-and-abroad"]), ("decline to approve", "tx-3", "honest", ["known-good"]),
        ("review to approve", "tx-6", "fraud", []), ("review to decline", "tx-1", "honest", ["dear-and-abroad"]),
    ]  # fmt: skip
    assert found["samples"][1] | {"score": None} == {
        "change": "approve to decline", "label": "fraud", "rules": ["dear-and-abroad"], "transaction_id": "tx-0", "tenant": "default",
        "card_id": "c-1", "merchant_id": "m", "amount_minor": 20_000, "currency": "EUR", "score": None,
    }  # fmt: skip
    assert found["errors"] == {} and found["against"] == {"model_version": "1.0.0", "policy_version": "7"}


def test_further_back_more_is_known(home: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive(home)
    found = answer(capsys, "rules", "test", good, "--since", "30d", "--home", home)
    assert (found["rows"], found["labels"]) == (11, {"fraud": 4, "honest": 3, "censored": 2, "unknown": 2})
    assert found["after"]["false_alarms_minor"] == {"EUR": 40_000, "USD": 30_000}
    assert found["before"]["caught_minor"]["JPY"] == found["after"]["caught_minor"]["JPY"] == 50_000
    assert run(["rules", "test", str(good), "--since", "36h", "--home", str(home)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("3 transactions from 2026-11-19T00:00:00+00:00 to 2026-11-20T12:00:00")
    assert "decisions changed: 2 approve to decline, 1 review to decline" in told


def test_without_a_past_it_says_so(home: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "test", str(good), "--home", str(home)]) == 1
    assert "nothing is archived" in capsys.readouterr().err
    assert run(["rules", "test", str(good), "--since", "soon", "--home", str(home)]) == 2


def test_publish_list_and_what_is_kept(home: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = answer(
        capsys, "rules", "publish", good, "--by", "ann", "--why", "a wave from abroad", "--home", home
    )
    assert said == {
        "version": "1.0.1", "policy_version": "8", "model_of": "1.0.0", "state": "awaiting approval",
    }  # fmt: skip
    assert states(home / "bundles", "fraud") == {"1.0.0": "live", "1.0.1": "awaiting approval"}
    assert run(["rules", "publish", str(good), "--home", str(home)]) == 0
    assert "the file leaves out, and so removes: rule old\n" in capsys.readouterr().err
    shown = answer(capsys, "models", "show", "1.0.1", "--home", home)
    assert shown["signature"] == "verified" and (shown["by"], shown["why"]) == ("ann", "a wave from abroad")
    assert shown["lineage"]["policy"]["model_and_evaluation_of"] == "1.0.0"
    assert [rule["name"] for rule in shown["policy"]["rules"]] == ["far", "dear-and-abroad"]
    assert (shown["policy"]["review"], shown["policy"]["version"]) == (0.5, "8")
    assert answer(capsys, "rules", "publish", good, "--home", home)["version"] == "1.0.3"
    # what is live is listed, not what waits
    assert [rule["name"] for rule in answer(capsys, "rules", "list", "--home", home)["rules"]] == [
        "far",
        "old",
    ]


def test_list_shows_owners_and_expiries(
    tmp_path: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "other"
    publish_with(home, LIVE)
    answer(capsys, "rules", "publish", good, "--home", home)
    policy = answer(capsys, "models", "show", "1.0.1", "--home", home)["policy"]
    publish_with(home, parse_policy(json.dumps(policy).encode()), "2.0.0")
    found = answer(capsys, "rules", "list", "--home", home)
    assert found["lists"][1] == {
        "name": "known-good", "kind": "allow", "field": "card_id", "owner": "ann", "reason": "", "tenants": [],
        "entries": 2, "expired": 1, "next_expiry": "2100-01-01T00:00:00Z",
    }  # fmt: skip
    assert run(["rules", "list", "--home", str(home)]) == 0
    assert "dear-and-abroad" in capsys.readouterr().out


def test_check_says_all_that_is_good_and_what_has_expired(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, "rules", "check", good)
    assert (found["rules"], found["lists"], found["entries"]) == (1, 2, 4)
    assert found["expired"] == ["list known-good: 1 of 2 entries"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("country <> 'FR'", "cuontry <> 'FR'"), "rule dear-and-abroad at character 27: .*did you mean country"),
        (('action = "decline"', 'action = "approve"'), "rule dear-and-abroad: Invalid enum value 'approve'"),
        (('owner = "ann"\n\n', "\n"), "rule dear-and-abroad: .*missing required field `owner`"),
        (('["d-bad"', '["4111111111111111"'), "list stolen, entry 1 holds a card number"),
        (("country <> 'FR'", "card_id = '4111 1111 1111 1111'"), "rule dear-and-abroad holds a card number"),
        (('field = "device_id"', 'field = "email"'), "list stolen: Expected `str` that names a field in `field`: it is one of card_id, "),
        (("expires = 2100-01-01T00:00:00Z", ""), "list stolen: d-bad has no expiry"),
        (("2100-01-01T00:00:00Z\n", "2100-01-01T00:00:00\n"), "list stolen: .*timezone"),
        (('name = "stolen"', 'name = "known-good"'), "share the name known-good"),
        (('file = "good.csv"', 'file = "../good.csv"'), "must be in the folder"),
        (('file = "good.csv"', 'file = "none.csv"'), "none.csv cannot be read"),
        (("[[rules]]", "[[rules]"), "the file is not valid TOML"),
        (("[[rules]]", "surprise = 1\n[[rules]]"), "unknown field `surprise`"),
        (("[[rules]]", "[thresholds]\nreview = 0.9\ndecline = 0.1\n[[rules]]"), "0 <= review <= decline"),
        (('name = "dear', "name = \"4111111111111111\"\n#"), "card number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    good: Path, change: tuple[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_text(GOOD.replace(*change, 1))
    assert run(["rules", "check", str(good)]) == 2
    told = capsys.readouterr().err
    assert re.search(says, told), told
    assert "4111" not in told


def test_all_that_is_wrong_is_named_at_once(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = GOOD.replace("country <>", "cuontry <>").replace("expires = 2100-01-01T00:00:00Z", "")
    good.write_text(broken)
    assert run(["rules", "check", str(good)]) == 2
    told = capsys.readouterr().err
    assert "has 3 errors" in told and "cuontry" in told and "d-bad" in told and "d-other" in told
    assert run(["rules", "check", str(good), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["good"] is False and len(found["errors"]) == 3


def test_what_can_never_match_is_not_published(
    home: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_text(GOOD.replace("country <> 'FR'", "hour BETWEEN 22 AND 5").replace('"d-bad"', '"d-bad "'))
    for command in ("check", "test", "publish"):
        assert run(["rules", command, str(good), "--home", str(home)]) == 2
        told = capsys.readouterr().err
        assert "is never true: 22 is more than 5; did you mean hour >= 22 OR hour <= 5?" in told
        assert (
            "list stolen: 'd-bad ' is not what a transaction carries: " in told
            and "did you mean 'd-bad'?" in told
        )
    assert states(home / "bundles", "fraud") == {"1.0.0": "live"}


def test_export_writes_the_live_policy_and_publishing_it_changes_nothing(
    home: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exported.toml"
    assert run(["rules", "export", "--out", str(out), "--home", str(home)]) == 0
    assert run(["rules", "export", "--out", str(out), "--home", str(home)]) == 2
    assert "exists: name a new file" in capsys.readouterr().err
    assert run(["rules", "export", "--home", str(home)]) == 0
    assert capsys.readouterr().out == out.read_text()
    assert out.read_text().startswith("# policy 7, live with model 1.0.0\n# training made far")
    answer(capsys, "rules", "publish", out, "--home", home)
    policy = parse_policy(
        json.dumps(answer(capsys, "models", "show", "1.0.1", "--home", home)["policy"]).encode()
    )
    assert policy == msgspec.structs.replace(LIVE, version="8")
    as_json = answer(capsys, "rules", "export", "--home", home)
    assert [rule["name"] for rule in as_json["rules"]] == ["old"] and as_json["thresholds"]["review"] == 0.5


def test_rules_on_attributes_meet_their_archived_values(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = {"tier": Attribute("text"), "items": Attribute("number")}
    Settings(home=str(home), attributes=declared).save()
    archive(home)
    for number, (tier, items) in enumerate([("gold", 7.0), ("basic", None), (None, 30.0)], 200):
        at = NEWEST - timedelta(days=1)
        _row(home, "features", schema_with(Attributes(declared)), number, at, transaction_id=f"tx-{number}", card_id="c", tenant="default",
             amount_minor=1, currency="EUR", text_tier=tier, number_items=items, **{name: float("nan") for name in NAMES})  # fmt: skip
        _row(home, "decisions", DECISION_SCHEMA, number, at, transaction_id=f"tx-{number}", score=0.1, decision="approve", tenant="default")  # fmt: skip
    path = tmp_path / "own.toml"
    path.write_text(
        '[[rules]]\nname = "own"\nwhen = "attributes.tier = \'gold\' OR attributes.items > 20"\naction = "decline"\nowner = "ann"\n'
    )
    found = answer(capsys, "rules", "test", path, "--since", "7d", "--home", home)
    assert found["rules"]["own"]["matched"] == 2 and found["errors"] == {}
