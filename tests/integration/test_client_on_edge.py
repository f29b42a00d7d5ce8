"""The typed client against edges on real sockets: the same id once across replicas and restarts, and what callers are told."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from features.transaction import Transaction
from models.bundle.content import load_bundle
from models.decision import Decision
from models.scoring.scorer import Scorer
from services.client import (
    AsyncClient,
    Client,
    Conflict,
    Invalid,
    ItemProblem,
    NotFound,
    OverQuota,
    Retry,
    Unavailable,
    Unreachable,
)
from services.scoring.edge.decide_round import warm_kernels
from services.scoring.edge.limits import Limits
from streams.contracts.label import Label
from tests.support.bundle_samples import publish_sample
from tests.support.edge_server import replicas

TX = Transaction(
    transaction_id="tx-1", event_time=datetime(2026, 11, 21, 10, 15, 30, tzinfo=UTC), card_id="card-42",
    merchant_id="m-9", amount_minor=1299, currency="EUR", device_id="d-5", country="FR",
)  # fmt: skip
#: a busy test machine must not turn a decision into a missed deadline
PATIENT_MS = 9000
#: as often as PATIENT_MS allows: a replica that starts again is waited for
OFTEN = Retry(attempts=200, first_s=0.05, max_s=0.1)


def tx(number: int, **changes: object) -> Transaction:
    return replace(TX, transaction_id=f"tx-{number}", **changes)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    warm_kernels()
    return Scorer(load_bundle(*publish_sample(tmp_path_factory.mktemp("bundle"))), measure=False)


def test_everything_a_caller_can_ask(scorer: Scorer) -> None:
    with replicas(scorer, 1) as (edge,), Client(edge.url) as client:
        decision = client.score(
            TX, PATIENT_MS, trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        )
        assert (decision.transaction_id, decision.status, decision.model_version) == (
            "tx-1",
            "scored",
            "1.0.0",
        )
        assert (
            edge.publisher.records[0][3]["traceparent"]
            == b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        )
        assert client.decision("tx-1") == decision
        with pytest.raises(NotFound):
            client.decision("tx-unknown")
        with pytest.raises(Conflict) as conflict:
            client.score(replace(TX, amount_minor=1), PATIENT_MS)
        assert conflict.value.field == "transaction_id"
        with pytest.raises(Invalid) as invalid:
            client.score(replace(TX, card_id="4111111111111111"), PATIENT_MS)
        assert (invalid.value.reason, invalid.value.field) == ("card_number", "card_id")
        batch = client.score_batch([TX, tx(2, currency="eur"), tx(3)], PATIENT_MS)
        assert batch[0] == decision
        assert isinstance(batch[1], ItemProblem)
        assert batch[1].problem.field == "currency"
        assert isinstance(batch[2], Decision)
        assert client.model().version == "1.0.0"
        said = Label(
            transaction_id="tx-1", label="fraud", label_time=TX.event_time, source="analyst", card_id="card-42",
            merchant_id="m-9", event_time=TX.event_time,
        )  # fmt: skip
        client.label(said)
        assert [record[0] for record in edge.publisher.records] == ["transactions"] * 2 + ["labels"]


def test_an_id_is_decided_once_across_replicas(scorer: Scorer) -> None:
    with replicas(scorer, 2) as edges, ThreadPoolExecutor(8) as threads:
        with Client(edges[0].url, retry=OFTEN) as first, Client(edges[1].url, retry=OFTEN) as second:
            # four callers to each replica, all with the same ids at the same time
            def ask(client: Client) -> list[Decision]:
                return [client.score(tx(i), PATIENT_MS) for i in range(20)]

            given = list(threads.map(ask, [first, second] * 4))
        assert all(decisions == given[0] for decisions in given)
        assert len(edges[0].publisher.records) == 20


def test_an_id_is_decided_once_over_a_restart(scorer: Scorer) -> None:
    with replicas(scorer, 1) as (edge,), Client(edge.url, retry=OFTEN) as client:
        before = client.score(TX, PATIENT_MS)
        edge.stop()
        with Client(edge.url, retry=Retry(attempts=2)) as latency_sensitive, pytest.raises(Unreachable):
            latency_sensitive.score(TX)
        starter = threading.Timer(0.2, edge.start)
        starter.start()
        # it is refused until the edge is back, and then given what was decided before
        assert client.score(TX, PATIENT_MS) == before
        starter.join()
        with pytest.raises(Conflict):
            client.score(replace(TX, amount_minor=1), PATIENT_MS)
        assert len(edge.publisher.records) == 1


def test_over_quota_is_told_and_waited_for(scorer: Scorer) -> None:
    with (
        replicas(scorer, 1, Limits(tenant_rate=0.5, burst_s=4.0)) as (edge,),
        Client(edge.url, retry=OFTEN) as client,
    ):
        client.score_batch([tx(1), tx(2)], PATIENT_MS)
        with pytest.raises(OverQuota) as told:
            client.score(tx(3), 500)
        assert told.value.retry_after_s == 1.0
        # with time enough the client waits as long as it was told to
        assert client.score(tx(3), PATIENT_MS).transaction_id == "tx-3"


def test_a_missed_deadline_is_unavailable_and_its_decision_stands(scorer: Scorer) -> None:
    async def go() -> None:
        with replicas(scorer, 1) as (edge,):
            edge.publisher.silent = True
            async with AsyncClient(edge.url, retry=Retry(attempts=1)) as client:
                # time enough to decide on a busy machine; only the acknowledgement is missing
                with pytest.raises(Unavailable) as told:
                    await client.score(TX, 6000)
                assert told.value.reason == "unacknowledged"
                edge.publisher.silent = False
                decisions = await asyncio.gather(*(client.score(tx(i), PATIENT_MS) for i in range(2, 12)))
                assert [d.transaction_id for d in decisions] == [f"tx-{i}" for i in range(2, 12)]
                assert (await client.model()).model == "fraud"
                assert (await client.decision("tx-2")) == decisions[0]
                assert await client.score_batch([tx(2)], PATIENT_MS) == [decisions[0]]

    asyncio.run(go())
