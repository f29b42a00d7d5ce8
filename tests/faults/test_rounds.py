"""Two rounds of each fault of the feature engine at 2,000 transactions a second: nothing lost, nothing duplicated.

``make faults`` runs twenty rounds of each, with the whole stack and freezes of a minute, and prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from infra import stack
from infra.stack.health.status import answering
from streams.audit.parity.sample import check_parity
from tests.faults.faults import FAULTS
from tests.faults.rounds import Bench
from tests.support.waiting import until

#: longer than the session timeout of 6 s: the frozen worker has lost its partitions when it wakes up
FREEZE_S = 7.0
ROUNDS = 2
#: the seed chooses the action: this one and the next give first a kill, then a freeze or a restart
SEED = 102
#: no bundle is served: each transaction gets one decision, not_scored
ENGINE = ("kafka", "redis", "processor-0", "processor-1", "labels-0", "scoring")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]) -> Iterator[Bench]:
    """A stack of Kafka, Redis, two processors, the labels worker, and two scoring replicas."""
    settings = stack.settings_for(tmp_path_factory.mktemp("faults"), free_port_base())
    settings = msgspec.structs.replace(settings, processors=2, stream_replicas=2)
    settings = stack.start(settings, only=ENGINE, wait_s=120)
    if settings.embedded:
        stack.stop(settings, purge=True)
        pytest.skip(
            "the mock cluster keeps nothing: needs Java 17 and Kafka's jars (`make setup` brings them)"
        )
    try:
        until(lambda: answering(settings), 120, "both replicas and the edge to be up")
        bench = Bench(settings, scoring=True, freeze_s=FREEZE_S)
        yield bench
        bench.close()
    finally:
        stack.stop(settings, purge=True)


@pytest.mark.stack
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.group != "labels"])
def test_every_transaction_is_applied_once(bench: Bench, name: str) -> None:
    result = bench.run(FAULTS[name], ROUNDS, SEED)
    assert result.clean, result
    verdict = check_parity(bench.settings, 100, seed=1, say=lambda _text: None)
    assert (verdict.identical, verdict.unexplained) == (verdict.compared, 0), verdict.differing
