"""The stream and the HTTP edge decide a card by the same arm, with the same model, and both say what the shadow scored."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from models.rollout.arms import arm_of
from services.scoring.arms import arms_decider
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.arms.shadow import Shadow
from services.scoring.edge.decide_round import warm_kernels
from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import Limits
from services.scoring.http.app import build_app
from services.scoring.model.serving import Challenger, Serving
from services.scoring.stream.worker import StreamScorer
from streams.log.other_catalogues import Layouts
from streams.runtime.settings import Settings
from tests.support.archive_samples import features, transaction
from tests.support.edge_fakes import FakeModel, FakePublisher, FakeStore
from tests.support.edge_keys import KEYS
from tests.support.feature_batches import decode_features, encode_features
from tests.support.stream_fakes import Message, Producer, assign
from tests.support.two_arms import NEW, OLD, SALT, Kept, Obstinate, challenger, champion
from tests.support.waiting import STALL_S

CARDS = [f"card-{number}" for number in range(40)]
PATIENT_MS = 8_000


@pytest.fixture(scope="module")
def models() -> tuple[Any, Obstinate]:
    warm_kernels()
    return champion(), challenger()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy test machine is no failing challenger."""
    monkeypatch.setattr(arms_decider, "CHALLENGER_WITHIN_S", STALL_S)
    monkeypatch.setattr(arms_decider, "shadow_share_ms", lambda left: 1000 * STALL_S)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def shadow(kept: Kept) -> Iterator[Shadow]:
    made = Shadow(kept)
    yield made
    made.close(STALL_S)


def on_the_stream(serving: Serving, shadow: Shadow, home: Path) -> dict[str, dict[str, Any]]:
    """Decisions by card."""
    live: Any = SimpleNamespace(serving=serving)
    worker = StreamScorer(Settings(home=str(home)), "test", live, Layouts({}.get), threading.Event(), ArmsDecider(shadow=shadow))  # fmt: skip
    assign(worker, {0: -1})
    producer: Any = Producer()
    now_ms = int(time.time() * 1000)
    records = []
    for number, card in enumerate(CARDS):
        record = decode_features(features(number).value or b"")
        payment = msgspec.structs.replace(record.transaction, card_id=card)
        changed = msgspec.structs.replace(
            record, transaction=payment, appended_ms=now_ms, deadline_ms=PATIENT_MS
        )
        records.append(Message(number, encode_features(changed)))
    messages: Any = records
    worker._handle(messages, producer)
    return {found["card_id"]: found for found in map(json.loads, producer.decisions)}


def over_http(serving: Serving, shadow: Shadow, home: Path, *, batch: bool) -> dict[str, dict[str, Any]]:
    """Decisions by card."""

    async def go() -> list[dict[str, Any]]:
        model = FakeModel(None)
        model.serving = serving
        settings = Settings(home=str(home), deadline_ms=PATIENT_MS)
        edge = Edge(settings, model, FakeStore(), FakePublisher(), Limits(), KEYS, shadow=shadow)
        payments = [
            json.loads(msgspec.json.encode(msgspec.structs.replace(transaction(number, int(time.time() * 1000)), card_id=card)))
            for number, card in enumerate(CARDS)
        ]  # fmt: skip
        transport = httpx.ASGITransport(build_app(edge))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            if batch:
                answer = await client.post("/v1/score/batch", json={"transactions": payments})
                found: list[dict[str, Any]] = answer.json()["decisions"]
                return found
            answers = await asyncio.gather(*(client.post("/v1/score", json=payment) for payment in payments))
            return [answer.json() for answer in answers]

    return {found["card_id"]: found for found in asyncio.run(go())}


def test_a_card_has_the_same_arm_at_both_edges(
    models: tuple[Any, Obstinate], shadow: Shadow, tmp_path: Path
) -> None:
    serving = Serving(models[0], Challenger(models[1], 0.4, SALT))
    expected = {card: arm_of(SALT, card, 0.4) for card in CARDS}
    versions = {"champion": OLD, "challenger": NEW}
    assert set(expected.values()) == set(versions)
    for found in (
        on_the_stream(serving, shadow, tmp_path),
        over_http(serving, shadow, tmp_path, batch=False),
        over_http(serving, shadow, tmp_path, batch=True),
    ):
        assert {card: decision["arm"] for card, decision in found.items()} == expected
        assert all(decision["model_version"] == versions[decision["arm"]] for decision in found.values())
        assert {decision["status"] for decision in found.values()} == {"scored"}


def test_both_edges_say_what_the_shadow_scored(
    models: tuple[Any, Obstinate], shadow: Shadow, kept: Kept, tmp_path: Path
) -> None:
    serving = Serving(models[0], Challenger(models[1], 0.0, SALT, shadow=True, run="r"))
    found = [
        *on_the_stream(serving, shadow, tmp_path).values(),
        *over_http(serving, shadow, tmp_path, batch=False).values(),
        *over_http(serving, shadow, tmp_path, batch=True).values(),
    ]
    assert {decision["arm"] for decision in found} == {"champion"}
    assert [list(decision["shadow"]) for decision in found] == [[NEW]] * len(found)
    shadow.close(STALL_S)
    scores = [
        round(score, 6)
        for batch in kept.batches
        for score in np.frombuffer(batch.challenger_scores, "<f4").tolist()
    ]
    assert sorted(scores) == pytest.approx(sorted(decision["shadow"][NEW] for decision in found))
