"""Batches at the HTTP edge, handled as one: the same decision for the same id all the same, whoever asks and whatever was lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.store.redis_client import Command
from models.bundle.content import load_bundle
from models.scoring.scorer import Scorer
from services.scoring.edge.decide_round import warm_kernels
from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import Limits
from services.scoring.edge.rounds import ASIDE_FROM
from services.scoring.http.app import build_app
from streams.runtime.metrics import UNKNOWN_FIELDS
from streams.runtime.settings import Settings
from tests.support.bundle_samples import publish_sample
from tests.support.edge_fakes import FakeModel, FakePublisher, FakeStore
from tests.support.edge_keys import KEYS, decision_in
from tests.support.waiting import STALL_S

#: enough to be a round of its own
ROWS = ASIDE_FROM + 36
PATIENT_MS = 9000


def item(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"b-{number}", "event_time": "2026-11-21T10:15:30.123Z", "card_id": f"card-{number % 7}",
        "merchant_id": "m-9", "amount_minor": 1000 + number, "currency": "EUR", "device_id": "d-5",
    } | fields  # fmt: skip


ITEMS = [item(number) for number in range(ROWS)]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    warm_kernels()
    return Scorer(load_bundle(*publish_sample(tmp_path_factory.mktemp("bundle"))), measure=False)


class HeldStore(FakeStore):
    """Large reads go here; they wait while ``open`` is not set."""

    def __init__(self, store: FakeStore) -> None:
        super().__init__()
        self.values, self.hashes = store.values, store.hashes
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0
        self.given_s: list[float] = []

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        self.given_s.append(timeout_s)
        self.waiting += 1
        await self.open.wait()
        return await super().call(commands, timeout_s)


class Replica:
    """One edge; those with one ``store`` are replicas of each other, or the same one started again."""

    def __init__(self, scorer: Scorer, home: Path, store: FakeStore | None = None, **limits: Any) -> None:
        self.store = store or FakeStore()
        self.bulk = HeldStore(self.store)
        self.publisher = FakePublisher()
        settings = Settings(home=str(home), deadline_ms=PATIENT_MS)
        self.edge = Edge(
            settings, FakeModel(scorer), self.store, self.publisher, Limits(**limits), KEYS, bulk=self.bulk
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(build_app(self.edge)), base_url="http://edge"
        )

    async def batch(self, items: Sequence[dict[str, Any]], deadline_ms: int = PATIENT_MS) -> list[Any]:
        answer = await self.client.post(
            "/v1/score/batch", json={"transactions": list(items)}, headers={"X-Deadline-Ms": str(deadline_ms)}
        )
        assert answer.status_code == 200, answer.text
        return list(answer.json()["decisions"])

    async def single(self, transaction: dict[str, Any]) -> httpx.Response:
        return await self.client.post("/v1/score", json=transaction)

    def carried(self) -> dict[str, Any]:
        """Decisions that travel with what was published, by id."""
        decisions = [json.loads(decision_in(published).decision) for published in self.publisher.records]
        return {decision["transaction_id"]: decision for decision in decisions}


@pytest.fixture
def make(scorer: Scorer, tmp_path: Path) -> Callable[..., Replica]:
    def made(store: FakeStore | None = None, **limits: Any) -> Replica:
        return Replica(scorer, tmp_path, store, **limits)

    return made


Make = Callable[..., Replica]


def run(go: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(STALL_S):
            await go()

    asyncio.run(bounded())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_a_batch_sent_again_gets_the_same_decisions_from_any_replica(make: Make) -> None:
    async def go() -> None:
        first = make()
        decisions = await first.batch(ITEMS)
        assert [decision["transaction_id"] for decision in decisions] == [i["transaction_id"] for i in ITEMS]
        other = make(first.store)
        assert await other.batch(ITEMS) == decisions
        # in another order, together with one that is new, and one of another content
        mixed = [ITEMS[5], item(1000), ITEMS[7] | {"amount_minor": 1}, *ITEMS[20:]]
        again = await other.batch(mixed)
        assert (again[0], again[3:]) == (decisions[5], decisions[20:])
        assert again[1]["transaction_id"] == "b-1000"
        assert again[2]["error"]["status"] == 409
        assert (await other.single(ITEMS[8])).json() == decisions[8]
        assert (await other.single(ITEMS[8] | {"mcc": "5411"})).status_code == 409
        assert (await other.client.get("/v1/decisions/b-9")).json() == decisions[9]
        assert [json.loads(value)["transaction_id"] for _, _, value, _ in other.publisher.records] == [
            "b-1000"
        ]

    run(go)


def test_decisions_of_a_batch_are_kept_once_and_small(make: Make) -> None:
    async def go() -> None:
        replica = make()
        decisions = await replica.batch(ITEMS)
        values = replica.store.values
        records = [value for key, value in values.items() if key.startswith("tollgate:edge:")]
        pages = [value for key, value in values.items() if key.startswith("tollgate:edge-page:")]
        assert (len(records), len(pages)) == (ROWS, 1)
        assert max(map(len, records)) < 64
        assert len(pages[0]) < len(json.dumps(decisions)) / 5

    run(go)


def test_what_was_acknowledged_by_the_deadline_stands_and_the_rest_is_sent_again_as_it_was(
    make: Make,
) -> None:
    async def go() -> None:
        first = make()
        first.publisher.silent = True
        answering = asyncio.create_task(first.batch(ITEMS, deadline_ms=1500))
        await until(lambda: len(first.publisher.waiting) == ROWS)
        for told in first.publisher.waiting[:40]:
            told(None)
        answers = await answering
        assert all(answer["status"] == "scored" for answer in answers[:40])
        assert {answer["error"]["reason"] for answer in answers[40:]} == {"unacknowledged"}
        assert (await first.client.get("/v1/decisions/b-41")).status_code == 404
        # another replica knows of it from the store alone: it gives what stands, and sends the rest again
        other = make(first.store)
        again = await other.batch(ITEMS)
        assert again[:40] == answers[:40]
        assert len(other.publisher.records) == ROWS - 40
        assert {d["transaction_id"]: d for d in again[40:]} == {
            key: decision
            for key, decision in first.carried().items()
            if key in {i["transaction_id"] for i in ITEMS[40:]}
        }

    run(go)


def test_acknowledgements_that_come_late_serve_the_retry(make: Make) -> None:
    async def go() -> None:
        replica = make()
        replica.publisher.silent = True
        answers = await replica.batch(ITEMS, deadline_ms=400)
        assert {answer["error"]["status"] for answer in answers} == {503}
        await until(lambda: len(replica.publisher.waiting) == ROWS)
        retry = asyncio.create_task(replica.batch(ITEMS))
        while not replica.edge._batches.in_flight:
            await asyncio.sleep(0)
        for told in replica.publisher.waiting:
            told(None)
        assert {d["transaction_id"]: d for d in await retry} == replica.carried()
        assert len(replica.publisher.records) == ROWS
        assert (await replica.client.get("/v1/decisions/b-3")).json() == replica.carried()["b-3"]

    run(go)


def test_a_record_that_the_broker_refuses_is_its_own_items_error(make: Make) -> None:
    async def go() -> None:
        replica = make()
        replica.publisher.silent = True
        answering = asyncio.create_task(replica.batch(ITEMS))
        await until(lambda: len(replica.publisher.waiting) == ROWS)
        for place, told in enumerate(replica.publisher.waiting):
            told("message too large" if place == 3 else None)
        answers = await answering
        assert answers[3]["error"]["reason"] == "broker"
        assert [a["status"] for i, a in enumerate(answers) if i != 3] == ["scored"] * (ROWS - 1)
        replica.publisher.silent = False
        again = (await replica.single(ITEMS[3])).json()
        assert again == replica.carried()["b-3"]
        assert len(replica.publisher.records) == ROWS + 1

    run(go)


def test_a_queue_without_room_claims_nothing(make: Make) -> None:
    async def go() -> None:
        replica = make()
        replica.publisher.full = True
        answers = await replica.batch(ITEMS)
        assert {answer["error"]["reason"] for answer in answers} == {"broker"}
        await until(lambda: not any("edge" in key for key in replica.store.values))
        replica.publisher.full = False
        assert {answer["status"] for answer in await replica.batch(ITEMS)} == {"scored"}

    run(go)


def test_a_single_request_does_not_wait_for_a_large_read(make: Make) -> None:
    async def go() -> None:
        replica = make()
        replica.bulk.open.clear()
        answering = asyncio.create_task(replica.batch(ITEMS))
        await until(lambda: replica.bulk.waiting)
        assert (await replica.single(item(5000))).json()["status"] == "scored"
        assert not answering.done()
        # one of the batch's own joins it
        joined = asyncio.create_task(replica.single(ITEMS[2]))
        await until(lambda: replica.edge._singles.in_flight)
        replica.bulk.open.set()
        decisions = await answering
        assert (await joined).json() == decisions[2]
        assert len(replica.publisher.records) == ROWS + 1

    run(go)


def test_a_large_read_may_take_its_share_of_what_is_left(make: Make) -> None:
    async def go() -> None:
        replica = make(batch_items=500)
        await replica.batch([item(number) for number in range(500)], deadline_ms=1000)
        assert 0.04 < replica.bulk.given_s[-1] <= 0.4
        await replica.batch([item(number) for number in range(600, 1100)], deadline_ms=9000)
        # the decision needs most of the time, however much there is
        assert replica.bulk.given_s[-1] == 0.4

    run(go)


def test_without_its_large_read_a_batch_is_degraded_and_still_decided_once(make: Make) -> None:
    async def go() -> None:
        replica = make()
        replica.bulk.away = True
        decisions = await replica.batch(ITEMS)
        assert {decision["status"] for decision in decisions} == {"degraded"}
        assert {"card_features", "merchant_features"} <= set(decisions[0]["degraded_by"])
        assert await make(replica.store).batch(ITEMS) == decisions

    run(go)


def test_a_batch_that_another_replica_decides_is_waited_for(make: Make) -> None:
    async def go() -> None:
        first = make()
        first.publisher.silent = True
        deciding = asyncio.create_task(first.batch(ITEMS))
        await until(lambda: len(first.publisher.waiting) == ROWS)
        other = make(first.store)
        waiting = asyncio.create_task(other.batch(ITEMS))
        await until(lambda: len(other.edge._rounds._others._waiting) == ROWS)
        looks = first.store.looks
        await until(lambda: first.store.looks > looks + 6)
        assert not waiting.done()
        for told in first.publisher.waiting:
            told(None)
        assert await waiting == await deciding
        assert other.publisher.records == []

    run(go)


def test_a_page_that_cannot_be_read_decides_nothing_twice(make: Make) -> None:
    async def go() -> None:
        replica = make()
        await replica.batch(ITEMS)
        for key in replica.store.values:
            if key.startswith("tollgate:edge-page:"):
                replica.store.values[key] = b"?"
        other = make(replica.store)
        assert {answer["error"]["status"] for answer in await other.batch(ITEMS)} == {500}
        assert (await other.client.get("/v1/decisions/b-1")).status_code == 500
        assert other.publisher.records == []

    run(go)


def test_quotas_count_within_a_batch(make: Make) -> None:
    async def go() -> None:
        replica = make(tenant_rate=0.001, burst_s=70_000)
        items = [*ITEMS, *(item(2000 + n, tenant="other") for n in range(5))]
        answers = await replica.batch(items)
        assert [a.get("status") for a in answers[:70]] == ["scored"] * 70
        assert {a["error"]["status"] for a in answers[70:ROWS]} == {429}
        assert [a.get("status") for a in answers[ROWS:]] == ["scored"] * 5

    run(go)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"event_time": "2099-01-01T00:00:00Z"}, "event_time"),
        ({"card_id": "4111111111111111"}, "card_id"),
        ({"currency": "eur"}, "currency"),
        ({"merchant_id": "a\nb"}, "merchant_id"),
        ({"note": "said", "amount_minor": "12"}, "amount_minor"),
    ],
)
def test_one_bad_item_among_many_is_refused_by_itself(make: Make, fields: dict[str, Any], field: str) -> None:
    async def go() -> None:
        replica = make()
        answers = await replica.batch([*ITEMS[:50], item(50, **fields), *ITEMS[51:]])
        assert answers[50]["error"]["field"] == field
        assert [a["transaction_id"] for i, a in enumerate(answers) if i != 50] == [
            i["transaction_id"] for i in ITEMS if i["transaction_id"] != "b-50"
        ]
        assert len(replica.publisher.records) == ROWS - 1

    run(go)


def test_unknown_fields_and_other_zones_in_a_batch(make: Make) -> None:
    async def go() -> None:
        replica = make()
        before = UNKNOWN_FIELDS._value.get()
        decisions = await replica.batch([item(0, note="x", mood=1), *ITEMS[1:]])
        assert UNKNOWN_FIELDS._value.get() == before + 2
        assert all(b"note" not in value for _, _, value, _ in replica.publisher.records)
        # the same moment, written in another zone
        moved = [dict(i, event_time="2026-11-21T11:15:30.123+01:00") for i in ITEMS]
        assert await replica.batch(moved) == decisions

    run(go)


def test_a_batch_leaves_nothing_behind(make: Make) -> None:
    async def go() -> None:
        replica = make()
        await replica.batch(ITEMS)
        began = time.monotonic()
        while replica.edge._rounds._tasks:
            assert time.monotonic() - began < STALL_S
            await asyncio.sleep(0)
        assert replica.edge._rounds._open._entries == {}
        assert replica.edge._batches.in_flight == 0

    run(go)
