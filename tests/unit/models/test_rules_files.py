"""Policy files as editors and spreadsheets write them; all that is wrong in one; and a policy written back as a file."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.policy.checking import problems, warnings
from models.policy.lists import Entry, PolicyList
from models.policy.policy import TRAINER, Policy, Rule
from models.policy.policy_export import as_toml, exported
from models.policy.policy_file import read_policy_file
from models.policy.problems import MAX_NAMED, PolicyError
from models.policy.thresholds import ExpectedLoss, Threshold
from services.cli.rules.policy_versions import FileRefused, load_policy_file
from streams.contracts.text.card_numbers import find_card_number

END = datetime(2100, 1, 1, tzinfo=UTC)
RULE = '[[rules]]\nname = "big"\nwhen = "amount_minor > 5"\naction = "review"\nowner = "ann"\n'
LIST = '[[lists]]\nname = "good"\nkind = "allow"\nfield = "card_id"\nowner = "ann"\nexpires = 2100-01-01T00:00:00Z\n'


def errors(text: str, *, is_json: bool = False, csv: str = "") -> list[str]:
    file, found = read_policy_file(text, is_json=is_json, beside=lambda _: csv)
    return found + problems(file, find_card_number)


def entry_list(*lines: str) -> str:
    return LIST + "entries = [\n" + "".join(f"    {line},\n" for line in lines) + "]\n"


@pytest.mark.parametrize(
    "raw",
    [
        RULE.encode(), b"\xef\xbb\xbf" + RULE.encode(), RULE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + RULE.replace("\n", "\r\n").encode(), RULE.replace("\n", "\r").encode(),
    ],
)  # fmt: skip
def test_byte_order_marks_and_line_ends_make_no_difference(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(raw)
    assert [rule.when for rule in load_policy_file(path).rules] == ["amount_minor > 5"]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (RULE.encode("utf-16"), "is in UTF-16: save it as UTF-8"),
        ((RULE + "# é").encode("latin-1"), "is not UTF-8: byte 0xe9 in line 6"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"\x00", "not valid TOML"),
        # which Python's parser would take minutes to read
        (b"a." * 100_000 + b"a = 1", "more than 32 parts"),
        (b'x = {"=" . ' + b"'a b'\t." * 100_000 + b"a = 1}", "more than 32 parts"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(tmp_path: Path, raw: bytes, says: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(raw)
    with pytest.raises(FileRefused, match=says):
        load_policy_file(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested too deeply"), ('{"rules":' * 100_000, "nested too deeply"), ("[]", "is not a policy"),
        ('{"rules": [], "rules": []}', "rules is given twice"),
        ("{" + "".join(f'"a{n}":1,' for n in range(100_000)) + '"z":1,"z":1}', "z is given twice"), ('{"thresholds": {"review": NaN, "decline": 1}}', "NaN is not a number"),
        ('{"rules": [{"name": "\\ud800"}]}', "half of a character"), ("null", "is not a policy"), ("{", "not valid JSON"),
    ],
)  # fmt: skip
def test_json_that_is_no_policy_says_why(text: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        errors(text, is_json=True)


@pytest.mark.parametrize(
    "csv",
    [
        "value,expires,reason\nc-1,2099-01-01T00:00:00Z,x\nc-2,,\n", "value;expires;reason\r\nc-1;2099-01-01T00:00:00Z;x\r\nc-2;;\r\n",
        "value\texpires\treason\nc-1\t2099-01-01T00:00:00Z\tx\nc-2\t\t\n\n", "sep=;\nValue ; Expires;reason\nc-1;2099-01-01T00:00:00Z;x\n;;\nc-2\n",
        '"value","expires","reason"\n"c-1","2099-01-01T00:00:00Z","x"\n"c-2","",""',
    ],
)  # fmt: skip
def test_lists_of_any_spreadsheet(csv: str) -> None:
    file, found = read_policy_file(LIST + 'file = "x.csv"', is_json=False, beside=lambda _: csv)
    assert found == [] and problems(file, find_card_number) == []
    assert [(entry.value, entry.reason, entry.expires is None) for entry in file.lists[0].entries] == [
        ("c-1", "x", False), ("c-2", "", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        ("", "must begin with the names of its columns.*it is empty"),
        ("card;until\nc-1;x\n", "its first line has 'card', 'until'"),
        ("value,value\nc-1,c-2\n", "its first line has 'value', 'value'"),
        ("value,expires\nc-1,tomorrow\n", r"line 2: .*`expires`: write a time with its zone"),
        ("value,reason\nc-1,a,b\n", "line 2 has 3 values for 2 columns"),
        ('value\n"c-1\n', "line 2 is not CSV"),
        ("value\nc-1 \n", "'c-1 ' is not what a transaction carries: .*did you mean 'c-1'"),
        ("value,expires\n,2099-01-01T00:00:00Z\n", "line 2: missing required field `value`"),
    ],
)  # fmt: skip
def test_lists_in_csv_that_are_wrong_name_the_line(csv: str, says: str) -> None:
    (error,) = errors(LIST + 'file = "x.csv"', csv=csv)
    assert error.startswith("list good: ") and re.search(says, error), error


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("card_id", "c-1 ", "did you mean 'c-1'"), ("device_id", "\td-1", "unprintable"), ("merchant_id", "  ", "is blank"),
        ("ip", "203.0.113.7 ", "a range such as"), ("ip", "999.1.1.1", "a range such as"), ("ip", "203.0.113.9/24", "host bits"),
        ("customer_id", "e\u0301ve", "did you mean '\u00e9ve'"),
    ],
)  # fmt: skip
def test_list_values_that_no_payment_has(field: str, value: str, says: str) -> None:
    (error,) = errors(entry_list(json.dumps(value)).replace('"card_id"', f'"{field}"'))
    assert re.search(says, error), error


def test_all_that_is_wrong_is_named_at_once() -> None:
    text = (
        RULE.replace('"review"', '"approve"').replace("amount_minor > 5", "hour = 24 OR currency = 'eur'").replace("owner", "ownr")
        + RULE.replace('"big"', '"other"').replace("amount_minor > 5", "huor = 1 OR country = 'FR' AND country = 'DE'")
        + RULE.replace('"big"', '"third"').replace("amount_minor > 5", "channel = 'POS' AND hour = 24") + 'tenants = ["a ", "b", "b"]\n'
        + entry_list('"c-1 "', '"c-2"', '"c-2"', '""', '{ value = "c-3", until = 5 }')
        + "[thresholds]\nreview = 0.9\ndecline = 0.1\n[[thresholds.by]]\nchannel = 'POS'\nreview = 0.5\ndecline = 2\n"
        + "[[thresholds.by]]\nreviw = 0.5\ndecline = 0.7\n"
        + "[expected_loss]\ncurrency = 'EUR'\nreview_cost_minor = -1\nlost_customer_minor = nan\nloss_share = 2\n[surprise]\n"
    )  # fmt: skip
    expected = [
        "the file: unknown field `surprise`", "rule big: unknown field `ownr`; did you mean `owner`",
        "rule big: Invalid enum value 'approve' in `action`: it is one of review, decline, observe",
        "rule big: missing required field `owner`", "rule big at character 1: `hour = 24`", "rule big at character 14: `currency = 'eur'`", "list good, entry 4: Expected `str` of length >= 1",
        "list good, entry 5: unknown field `until`", "thresholds.by number 2: unknown field `reviw`",
        "thresholds.by number 2: missing required field `review`", "`review_cost_minor`", "`lost_customer_minor`", "`loss_share`",
        "rule other at character 1: `huor`", "rule third at character 1: `channel = 'POS'`", "rule third at character 21: `hour = 24`",
        "rule third: tenant 'a '", "rule third: tenant 'b' is given twice", "list good: 'c-1 '", "list good: c-2 occurs twice",
        "thresholds must hold 0 <= review", "channels are pos",
    ]  # fmt: skip
    found = errors(text)
    for part in expected:
        assert any(part in error for error in found), (part, found)
    assert len(found) == len(expected), found


def test_many_errors_of_one_list_are_counted() -> None:
    found = errors(entry_list(*(f'"c-{n} "' for n in range(MAX_NAMED + 50))))
    assert len(found) == MAX_NAMED + 1 and found[-1] == "list good: 50 more errors"


def test_costs_in_a_currency_that_does_not_exist() -> None:
    loss = "[expected_loss]\ncurrency = 'EUR'\nreview_cost_minor = 1\nlost_customer_minor = 1\nrates = { usd = 1.0, EUR = 2.0 }\n"
    assert [re.sub(r":.*did", ": did", error) for error in errors(loss)] == [
        "expected_loss: did you mean 'USD'?",
        "expected_loss: `rates` has EUR, in which the costs themselves are: remove it",
    ]


def test_what_has_no_effect_is_warned_of() -> None:
    block = entry_list('"c-1"', '"c-2"').replace('"good"', '"bad"').replace("allow", "block")
    file, found = read_policy_file(
        LIST.replace("good", "idle") + block + entry_list('"c-2"'), is_json=False, beside=str
    )
    assert found == [] and problems(file, find_card_number) == []
    assert warnings(file) == [
        "list idle has no entries, so it matches nothing",
        "list good: c-2 is also on block list bad, which decides",
    ]


WHOLE = Policy(
    version="7", review=0.00001, decline=0.5, without_score="decline",
    rules=(
        Rule("far", "card_speed_kmh > 900", "review", TRAINER),
        Rule("odd", "card_id = 'a\"b\\c'", "observe", "ann", 'tab\t, quote " and \x7f, é, \U0001f600', END, ("a", "b")),
    ),
    thresholds=(Threshold(review=0.25, decline=1.0, tenant="a", channel="atm"),),
    expected_loss=ExpectedLoss(currency="EUR", review_cost_minor=1e12, lost_customer_minor=0.1, rates={"USD": 1e-5}, tenants=("x y",)),
    lists=(
        PolicyList(
            name="l", kind="watch", field="ip", owner="bob", expires=END,
            entries=(Entry("203.0.113.0/24"), Entry("10.0.0.1", END, "ann", "x")),
        ),
        PolicyList(name="empty", kind="block", field="card_id", owner="bob", entries=()),
    ),
)  # fmt: skip


@pytest.mark.parametrize("policy", [WHOLE, Policy(version="7", review=0.1, decline=0.9)])
def test_an_exported_policy_published_again_is_the_same(policy: Policy) -> None:
    as_json = json.dumps(exported(policy), default=datetime.isoformat)
    for text, is_json in ((as_toml(policy, "policy 7"), False), (as_json, True)):
        file, found = read_policy_file(text, is_json=is_json, beside=str)
        assert found == [] and problems(file, find_card_number) == []
        assert file.applied_to(policy, "7") == policy


def test_texts_with_many_dots_are_no_long_names() -> None:
    entries = ", ".join(f'{{value = "card-{n % 9}.{n}"}}' for n in range(5_000))
    text = f"# {'a.' * 100}\n{LIST}entries = [{entries}] # {'a.' * 100}\n"
    read = read_policy_file(text, is_json=False, beside=lambda name: pytest.fail(name))
    assert read.errors == [] and len(read.file.lists[0].entries) == 5_000
