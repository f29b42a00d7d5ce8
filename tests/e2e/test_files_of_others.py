"""Replays of public data sets through the running stack: each row is decided once or refused with a reason.

Last of the end-to-end tests: these payments are drift and may cause a retraining, which would be the one that the test of a
model's life waits for.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streams.contracts.text.card_numbers import find_card_number
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.settings import Settings
from tests.support.running import ends_of, read_topic, run_json
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.comes_late(place=2)]

DATA = Path(__file__).parents[2].parent / "shared" / "data"
DIRTY_MAPPING = Path(__file__).parents[1] / "support" / "dirty.toml"
SPARKOV_ROWS = 20_000


def needs(name: str) -> str:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine (public data that the project does not ship)")
    return str(path)


def decided(summary: dict[str, Any]) -> int:
    return int(sum(summary["decided"].values()))


def test_what_a_producer_really_sent_is_decided_or_refused_in_words(running_stack: Settings) -> None:
    file = needs("dirty_transactions.parquet")
    letters_from = ends_of(running_stack, "dead-letters", 1)
    summary = run_json(running_stack, "replay", file, "--mapping", str(DIRTY_MAPPING), "--wait", "90")
    assert (summary["produced"], decided(summary), summary["dead_lettered"]) == (3_199, 3_047, 152)
    assert summary["missing"] == summary["duplicated"] == summary["decided"]["not_scored"] == 0

    report = summary["file"]
    assert (report["rows"], report["fit"], report["refused"]) == (3_199, 3_047, 152)
    assert sum(summary["decisions"].values()) == 3_047 and summary["labels_sent"] == 0
    assert summary["caught"]["frauds"] == report["labels"]["fraud"] == 364

    letters = [decode_dead_letter(record.value()) for record in read_topic(running_stack, "dead-letters", letters_from)]  # fmt: skip
    assert len({(letter.source_partition, letter.source_offset) for letter in letters}) == len(letters) == 152
    assert Counter((letter.source_topic, letter.reason, letter.field, letter.text) for letter in letters) == {
        (
            "transactions",
            "field",
            "event_time",
            "event_time is not a valid time: use RFC 3339 with zone, such as 2026-11-21T10:15:30Z",
        ): 152
    }
    originals = [json.loads(letter.original_bytes() or b"") for letter in letters]
    assert all(original["event_time"].startswith("2019-11-31") for original in originals)
    # the command shows the same: which record, and which field to correct
    shown = {row["id"]: row for row in run_json(running_stack, "dead-letters", "list", "--reason", "field")}
    for letter in letters:
        row = shown[f"transactions/{letter.source_partition}/{letter.source_offset}"]
        assert (row["field"], row["text"]) == ("event_time", letter.text)

    books = run_json(running_stack, "reconcile", "--wait", "30")
    assert books["balanced"] and books["in_flight"] == 0


@pytest.fixture(scope="module")
def sparkov(running_stack: Settings) -> dict[str, dict[int, int]]:
    """The first rows of Sparkov, replayed and decided; where the topics ended before."""
    file = needs("sparkov_transactions.parquet")
    start = {
        topic: ends_of(running_stack, topic, running_stack.partitions)
        for topic in ("transactions", "decisions", "labels", "outcomes")
    }
    summary = run_json(
        running_stack, "replay", file, "--mapping", "sparkov", "--limit", str(SPARKOV_ROWS), "--wait", "90"
    )
    assert summary["produced"] == decided(summary) == SPARKOV_ROWS
    assert summary["missing"] == summary["duplicated"] == summary["dead_lettered"] == 0
    assert summary["decided"]["not_scored"] == 0
    return start


def test_sparkov_is_decided_without_its_card_numbers_and_each_label_becomes_an_outcome(
    running_stack: Settings, sparkov: dict[str, dict[int, int]]
) -> None:
    sent = read_topic(running_stack, "transactions", sparkov["transactions"], timeout_s=60)
    answers = [
        json.loads(r.value())
        for r in read_topic(running_stack, "decisions", sparkov["decisions"], timeout_s=60)
    ]
    assert {answer["transaction_id"] for answer in answers} == {
        json.loads(r.value())["transaction_id"] for r in sent
    }
    assert all(record.key().startswith(b"tok-") for record in sent)
    for text in {answer["card_id"] for answer in answers} | {answer["transaction_id"] for answer in answers}:
        assert find_card_number(text) is None

    # the file spans more days than its labels' delay, so some became due during the replay
    labels = [json.loads(r.value()) for r in read_topic(running_stack, "labels", sparkov["labels"])]
    wanted = [label["transaction_id"] for label in labels if label["transaction_id"].startswith("sp-")]
    assert 0 < len(wanted) < SPARKOV_ROWS

    def outcomes() -> list[str] | None:
        found = [json.loads(r.value()) for r in read_topic(running_stack, "outcomes", sparkov["outcomes"])]
        ids = [outcome["decision"]["transaction_id"] for outcome in found]
        ours = [name for name in ids if name.startswith("sp-")]
        return ours if len(ours) >= len(wanted) else None

    assert sorted(until(outcomes, 120, f"an outcome for each of {len(wanted)} labels")) == sorted(wanted)

    books = run_json(running_stack, "reconcile", "--wait", "30")
    assert books["balanced"] and books["in_flight"] == 0


@pytest.mark.usefixtures("sparkov")
def test_features_made_at_full_speed_are_recomputed_from_the_log_to_the_bit(running_stack: Settings) -> None:
    """A replay has no deadlines, so the merchant features that were read depend only on the log."""
    result = run_json(running_stack, "parity", "--sample", "300")
    assert result["compared"] >= 100 and result["unexplained"] == 0
    assert result["identical"] + sum(result["explained"].values()) == result["compared"]
