"""Rules say only what the language has, names and types are checked when a rule is written, and errors help to mend it."""

from __future__ import annotations

import numpy as np
import pytest

from features.catalogue import INDEX, WIDTH
from models.policy.problems import PolicyError, RuleRefused
from models.policy.rules.columns import Batch, FieldUnknown, TableColumns
from models.policy.rules.compiler import Meaning
from models.policy.rules.language import MAX_DEPTH, MAX_LENGTH
from models.policy.rules.rule import MAX_RULES, Rule, activate_rules

FIELDS = {
    "amount_minor": [100, 50_000, 7, 2**39],
    "country": ["FR", None, "NG", "DE"],
    "channel": ["ecom", "pos", None, "ecom"],
    "device_id": ["d-1", "D-1", None, "ab-77"],
    "latitude": [1.5, None, -80.0, 0.0],
    "mcc": ["5411", None, "5411", "6011"],
    "tenant": ["default", "a", "a", "b"],
    "card_id": ["it's", "c", "d", "e"],
}
FEATURES = {
    "card_count_1h": [0.1, np.nan, 3, 4],
    "card_sum_1h": [10, 20, 0, np.nan],
    "mcc": [5411, np.nan, 5411, 6011],
}


def batch() -> Batch:
    matrix = np.full((4, WIDTH), np.nan, np.float32)
    for name, column in FEATURES.items():
        matrix[:, INDEX[name]] = column
    return Batch(np.array([0.1, 0.5, np.nan, 1.0], np.float32), matrix, TableColumns(FIELDS))


@pytest.mark.parametrize(
    ("when", "rows"),
    [
        ("amount_minor > 100", [1, 3]),
        ("amount_minor >= 100 AND NOT country = 'FR'", [3]),
        ("country <> 'FR'", [2, 3]),
        ("country NOT IN ('FR', 'NG')", [3]),
        ("NOT (country = 'FR' OR channel = 'pos')", [3]),
        ("country IS NULL", [1]),
        ("NOT country IS NULL AND channel IS NOT NULL", [0, 3]),
        ("card_count_1h = 0.1", [0]),
        ("0.1 = card_count_1h", [0]),
        ("card_count_1h <> 0.1", [2, 3]),
        ("card_count_1h IN (0.1, 4)", [0, 3]),
        ("card_count_1h NOT IN (0.1, 4)", [2]),
        ("5 > card_count_1h", [0, 2, 3]),
        ("score >= 0.5", [1, 3]),
        ("NOT score >= 0.5", [0]),
        ("score IS NULL", [2]),
        ("card_count_1h BETWEEN 0.1 AND 3", [0, 2]),
        ("card_count_1h NOT BETWEEN 0.1 AND 3", [3]),
        ("card_count_1h / card_sum_1h > 0.005", [0]),
        ("coalesce(card_count_1h, 0) + 1 <= 1.2", [0, 1]),
        ("abs(latitude) > 1", [0, 2]),
        ("amount_minor > 2 * (20 + 5)", [0, 1, 3]),
        ("amount_minor = 549755813888", [3]),
        ("mcc = '5411' AND features.mcc = 5411", [0, 2]),
        ("device_id LIKE 'd-%'", [0]),
        ("device_id LIKE '%-1' OR device_id LIKE '%b-%'", [0, 1, 3]),
        ("device_id NOT LIKE 'd-%'", [1, 3]),
        ("NOT device_id NOT LIKE 'd-%'", [0]),
        ("CARD_ID = 'it''s' -- a comment", [0]),
        ("card_count_1h > card_sum_1h", [2]),
        ("-latitude > 1", [2]),
    ],
)
def test_what_a_condition_means(when: str, rows: list[int]) -> None:
    with np.errstate(divide="ignore"):
        assert np.flatnonzero(Meaning().compile("r", when)(batch())).tolist() == rows


@pytest.mark.parametrize(
    "when",
    [
        "", ";", "amount_minor > 1; amount_minor > 2", "amount_minor > 1; DROP TABLE x", "DROP TABLE transactions",
        "card_id IN (SELECT card_id FROM t)", "EXISTS (SELECT 1)", "(SELECT 1) > 0", "amount_minor > (SELECT 1)",
        "read_csv('/etc/passwd') IS NULL", "read_parquet('s3://x') = 1", "pg_read_file('/etc/passwd') = 'x'",
        "getenv('HOME') = 'x'", "__import__('os').system('id') = 0", "os.system('id') = 0", "open('/etc/passwd') IS NULL",
        "exec('x') = 1", "eval('1') = 1", "lambda x: x", "amount_minor.__class__ IS NULL", "features.__class__ = 1",
        "load_extension('x') = 1", "COPY t TO '/tmp/x'", "ATTACH '/tmp/x'", "PRAGMA x", "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1", "CALL x()", "SET x = 1", "amount_minor > 1 UNION SELECT 1", "amount_minor::text = '1'",
        "CAST(amount_minor AS TEXT) = '1'", "amount_minor > ?", "amount_minor > :x", "amount_minor > @x", "amount_minor > $1",
        "CASE WHEN amount_minor > 1 THEN TRUE END", "IF(amount_minor > 1, TRUE, FALSE)", "sleep(10) = 1",
        "repeat('x', 1000000000) = 'x'", "card_id || 'x' = 'y'", "upper(card_id) = 'X'", "regexp_like(card_id, '(a+)+$')",
        "card_id ~ '(a+)+$'", "card_id SIMILAR TO 'x'", "card_id ILIKE 'xx%'", "card_id LIKE '%a%b%c%'", "card_id LIKE '%'",
        "card_id LIKE 'xx%' ESCAPE '!'", "amount_minor % 2 = 1", "amount_minor & 1 = 1", "amount_minor ** 9 > 1",
        "power(amount_minor, 9) > 1", "random() > 0.5", "now() > 1", "current_date = '2026-01-01'", "amount_minor IN (card_id)",
        "amount_minor IN ()", "card_id IN ()", "amount_minor > ALL(1)", "(amount_minor, score) = (1, 2)", "*", "amount_minor",
        "TRUE", "1 = 1", "1 IN (1)", "1 IS NULL", "'a' = 'a'", "amount_minor = NULL", "score IS TRUE", "amount_minor > 1 AS x",
        "amount_minor > INTERVAL '1' DAY", "count(*) > 1", "sum(amount_minor) OVER () > 1", "no_such_field > 1",
        "tx.amount_minor > 1", "db.features.mcc = 1", "amount_minor = 'x'", "card_id = 5", "card_id > 'a'", "card_id = country",
        "mcc = 5411", "amount_minor > 1e300", "amount_minor / 0 > 1",
        "amount_minor > 1 AND", "amount_minor >", "((amount_minor > 1)", "event_time > 5", "x'1F' = 1", "'unclosed",
        "coalesce(amount_minor) > 1", "coalesce(amount_minor, 1, 2) > 1", "amount_minor BETWEEN SYMMETRIC 1 AND 2",
        "amount_minor > 'a' 'b'", "amount_minor > 1 LIMIT 3", "amount_minor > 0x1F", "{{ 7 * 7 }} > 1", "amount_minor > 1 -- x\n; y",
    ],
)  # fmt: skip
def test_what_is_not_in_the_language_is_refused_by_name(when: str) -> None:
    with pytest.raises(RuleRefused, match="rule nasty"):
        Meaning().compile("nasty", when)


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("amount_minor > 5 AND card_cuont_1h > 3", "rule r at character 22: .*did you mean card_count_1h"),
        ("amount_minor > 1 AND", "line 1, column"),
        ("upper(card_id) = 'X'", r"rule r at character 7: .*RULES\.md"),
        ("country > 'FR'", "by = or <> with a text in single quotes"),
        ('country = "FR"', "must compare country .* single quotes"),
        ("latitude = NULL", "IS NULL"),
    ],
)
def test_errors_name_rule_place_and_way_out(when: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        Meaning().compile("r", when)


def test_length_depth_and_number_are_bounded() -> None:
    for when in (
        "amount_minor > 1" + " " * MAX_LENGTH,
        "(" * (MAX_DEPTH + 1) + "amount_minor > 1" + ")" * (MAX_DEPTH + 1),
        "(" * 900 + "amount_minor > 1" + ")" * 900,
        "NOT " * 490 + "amount_minor > 1",
        "-" * 1900 + "amount_minor > 1",
        " OR ".join(["score > 1"] * 100),
    ):
        with pytest.raises(RuleRefused, match="rule deep"):
            Meaning().compile("deep", when)
    with pytest.raises(PolicyError, match="put values on lists"):
        activate_rules(Rule(f"r{n}", "score > 1", "review", "a") for n in range(MAX_RULES + 1))


def test_many_sets_on_one_field_and_many_comparisons_of_one_feature_keep_apart() -> None:
    meaning = Meaning()
    values = [f"d-{number}" for number in range(200)]
    sets = [meaning.compile("r", f"device_id IN ('{value}', 'd-0')") for value in values]
    others = [meaning.compile("r", f"device_id <> '{value}'") for value in values]
    numbers = [meaning.compile("r", f"card_count_1h > {number}") for number in range(200)]
    matrix = np.full((201, WIDTH), np.nan, np.float32)
    matrix[:200, INDEX["card_count_1h"]] = np.arange(200)
    rows = Batch(np.zeros(201, np.float32), matrix, TableColumns({"device_id": [*values, None]}))
    for number in range(200):
        assert np.flatnonzero(sets[number](rows)).tolist() == sorted({0, number})
        assert np.flatnonzero(~others[number](rows)).tolist() == [number, 200]
        assert np.flatnonzero(numbers[number](rows)).tolist() == list(range(number + 1, 200))


def test_only_what_rules_name_is_asked_for() -> None:
    asked = []

    class Asked:
        def column(self, name: str) -> list[str | None]:
            asked.append(name)
            return ["FR", None]

    rows = Batch(np.zeros(2, np.float32), np.zeros((2, WIDTH), np.float32), Asked())
    meaning = Meaning()
    for when in ("country = 'FR'", "country = 'DE' OR country IS NULL", "card_count_1h > 2"):
        meaning.compile("r", when)(rows)
    assert asked == ["country"]
    with pytest.raises(FieldUnknown):
        meaning.compile("r", "country = 'FR'")(Batch(np.zeros(2, np.float32), None, None))
