"""What a replay caught: first decisions joined with labels, money per currency."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from loadtest.traffic.verdicts import Verdicts, caught, lines


@dataclass(frozen=True)
class Message:
    """A record as the measuring process reads it."""

    value_: bytes | None
    topic_: str = "decisions"

    def topic(self) -> str:
        return self.topic_

    def value(self) -> bytes | None:
        return self.value_


def decision(name: str, decided: str, tenant: str = "default") -> Message:
    return Message(
        json.dumps({"transaction_id": name, "decision": decided, "tenant": tenant, "score": 0.5}).encode()
    )


def sent(*rows: tuple[str, str | None, int, str], tenant: str = "default") -> pa.Table:
    columns = list(zip(*rows, strict=True))
    return pa.table({
        "transaction_id": columns[0], "label": pa.array(columns[1], pa.string()), "amount_minor": columns[2], "currency": columns[3],
        "tenant": [tenant] * len(rows),
    })  # fmt: skip


FILE = sent(
    ("a", "fraud", 100, "EUR"), ("b", "fraud", 50, "JPY"), ("c", "fraud", 7, "EUR"), ("d", "legit", 9, "EUR"), ("e", "legit", 9, "EUR"),
    ("f", None, 9, "EUR"), ("g", "fraud", 9, "EUR"),
)  # fmt: skip


def test_frauds_caught_and_false_alarms(tmp_path: Path) -> None:
    verdicts = Verdicts()
    verdicts.add(
        [
            decision("a", "decline"),
            decision("b", "review"),
            decision("c", "approve"),
            Message(b"{", "transactions"),
        ]
    )
    # only the first decision counts; another tenant's is another transaction; what does not parse is passed over
    verdicts.add(
        [
            decision("c", "decline"),
            decision("d", "review"),
            decision("e", "decline", "other"),
            decision("e", "approve"),
        ]
    )
    verdicts.add([decision("f", "review"), Message(b"\xff"), Message(None), decision("x", "decline")])
    verdicts.save(tmp_path / "v.npy")
    found = caught(tmp_path / "v.npy", FILE)
    assert found["decisions"] == {"approve": 2, "review": 3, "decline": 1}
    assert found["caught"] == {
        "frauds": 3, "frauds_caught": 2, "honest": 2, "false_alarms": 1, "recall": 0.666667, "precision": 0.666667,
        "false_alarm_rate": 0.5, "fraud_minor": {"EUR": 107, "JPY": 50}, "fraud_caught_minor": {"EUR": 100, "JPY": 50},
    }  # fmt: skip
    text = "\n".join(lines(found))
    assert "2 of 3 frauds (66.7%)" in text and "1 of 2 honest payments (50.00%)" in text


def test_without_labels_or_decisions_nothing_is_claimed(tmp_path: Path) -> None:
    verdicts = Verdicts()
    verdicts.save(tmp_path / "v.npy")
    found = caught(tmp_path / "v.npy", FILE)
    assert found == {"decisions": {"approve": 0, "review": 0, "decline": 0}, "labelled": 6, "caught": None}
    # such as a file that was sent before: its decisions are no new ones
    assert lines(found)[1].endswith("nothing that has a label was decided now")
    verdicts.add([decision("a", "approve")])
    verdicts.save(tmp_path / "v.npy")
    found = caught(tmp_path / "v.npy", sent(("a", None, 1, "EUR")))
    assert found["caught"] is None and lines(found)[1].endswith("the file has no labels")
    honest = caught(tmp_path / "v.npy", sent(("a", "legit", 1, "EUR")))["caught"]
    assert (honest["recall"], honest["precision"], honest["false_alarm_rate"]) == (None, None, 0.0)
