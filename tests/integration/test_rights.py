"""Every principal of a secured stack, tried on every topic of a real Kafka and on every kind of key of a real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # fmt: skip
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from features.store.redis_address import RedisAddress
from features.store.redis_client import RespClient, StoreUnavailable
from infra import stack
from infra.stack.secure.kafka_rights import allowed, apply_rights
from infra.stack.tools import find_tools
from streams.log.rights import RIGHTS
from streams.log.topics import ALL, DECISIONS, LABELS, ROLLOUTS, TRANSACTIONS
from streams.runtime.kafka.clients import new_admin, new_consumer, new_reporting_producer
from streams.runtime.kafka.connection import KafkaAddress, part_of
from streams.runtime.secured import BROKER
from streams.runtime.settings import Settings, acting_as
from tests.attack.attacker import PRODUCER, writer
from tests.attack.open_transactions import open_transaction
from tests.support.raw_batches import batch, record, send_batch
from tests.support.rights import may_get, may_set
from tests.support.waiting import STALL_S, until

pytestmark = pytest.mark.timeout(300)
#: one key of each kind
KEYS = (
    "{t0}v1:card:c-1", "{e1}v1:merchant:m-1", "{l0}labels:position", "{d1}labels:epoch", "tollgate:state:serving",
    "tollgate:log:eras", "tollgate:catalogue:c1", "tollgate:identities:secret", "tollgate:room", "tollgate:index:0:1",
    "tollgate:decisions:0:1-2", "tollgate:label:default/tx-1", "tollgate:labels:early:0", "tollgate:edge",
    "tollgate:edge:default/tx-1", "tollgate:edge-page:1", "of-nobody",
)  # fmt: skip
EVERYTHING = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    """Kafka and Redis of a secured stack."""
    if not find_tools().real_kafka:
        pytest.skip("needs Java 17 and Kafka's jars (`make setup` brings them)")
    home = tmp_path_factory.mktemp("secured")
    settings = stack.settings_for(home, free_port_base(), secure=True)
    try:
        yield stack.start(settings, only=("kafka", "redis"), wait_s=120)
    finally:
        stack.stop(settings, purge=True)


def written(settings: Settings, principal: str) -> dict[str, bool]:
    """Whether the broker took a record of a principal, by topic."""
    said: dict[str, Any] = {}
    producer = new_reporting_producer(
        acting_as(settings, principal).kafka, "test", **{"enable.idempotence": False}
    )
    for topic in ALL:
        # compacted topics take none without a key
        producer.produce(topic.name, b"{}", key=b"of-a-test", partition=0, on_delivery=lambda error, message: said.update({message.topic(): error}))  # fmt: skip
    assert producer.flush(STALL_S) == 0
    return {topic: _allowed(error) for topic, error in said.items()}


def _allowed(error: KafkaError | None) -> bool:
    assert error is None or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error
    return error is None


def read(settings: Settings, principal: str) -> dict[str, bool]:
    """Whether the broker gave a principal a topic's records, by topic; each topic has one."""
    group = next(name for name in RIGHTS[principal].groups).replace("*", "test")
    consumer = new_consumer(acting_as(settings, principal).kafka, group)
    found: dict[str, bool] = {}
    try:
        consumer.assign([TopicPartition(topic.name, 0, 0) for topic in ALL])
        end = time.monotonic() + STALL_S
        while len(found) < len(ALL) and time.monotonic() < end:
            for message in consumer.consume(100, timeout=0.2):
                found.setdefault(message.topic(), _allowed(message.error()))
    finally:
        consumer.close()
    return found


def test_each_principal_writes_and_reads_what_the_table_says(secured: Settings) -> None:
    assert all(written(secured, BROKER).values())
    for principal, has in RIGHTS.items():
        assert written(secured, principal) == {t.name: t in has.writes for t in ALL}, principal
        if has.groups:
            assert read(secured, principal) == {t.name: t in has.reads for t in ALL}, principal


def test_groups_are_rights_too(secured: Settings) -> None:
    """A wrong position of a group would skip payments: only its own principal commits one."""

    def committed(principal: str, group: str) -> bool:
        admin = new_admin(acting_as(secured, principal).kafka)
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(TRANSACTIONS.name, 0, 0)])
        try:
            # who may see the group gets so far, and is refused partition by partition
            (done,) = admin.alter_consumer_group_offsets([asked])[group].result(STALL_S).topic_partitions
            refused = done.error
        except KafkaException as error:
            refused = error.args[0]
        assert refused is None or refused.code() == KafkaError.GROUP_AUTHORIZATION_FAILED, refused
        return refused is None

    assert committed("processor", "processor")
    for principal in ("labels", "operator", "edge", "producer"):
        assert not committed(principal, "processor"), principal


def test_who_is_nobody_comes_nowhere(secured: Settings) -> None:
    part = secured.kafka.part if isinstance(secured.kafka, KafkaAddress) else None
    assert part is not None
    wrong = secured.root / "wrong"
    wrong.write_text("the-wrong-one")
    stranger = KafkaAddress(str(secured.kafka), type(part)(**{f: getattr(part, f) for f in part.__struct_fields__} | {"password_file": str(wrong)}))  # fmt: skip
    for address in (stranger, str(secured.kafka)):
        with pytest.raises(KafkaException):
            new_admin(address).list_topics(timeout=3)
    found = RedisAddress.of(secured.redis_address)
    with pytest.raises(StoreUnavailable, match="WRONGPASS"):
        RespClient(f"rediss://operator:wrong@127.0.0.1:{found.port}?ssl_ca_certs={found.ca_file}").call([("PING",)])  # fmt: skip
    (refused,) = RespClient(f"rediss://127.0.0.1:{found.port}?ssl_ca_certs={found.ca_file}").call([("GET", "k")])  # fmt: skip
    assert str(refused).startswith("NOAUTH")
    with pytest.raises(StoreUnavailable):
        RespClient(f"redis://127.0.0.1:{found.port}", 3).call([("PING",)])
    with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        RespClient(f"rediss://127.0.0.1:{found.port}", 3).call([("PING",)])


def test_each_principal_has_its_keys_of_redis(secured: Settings) -> None:
    for principal, has in RIGHTS.items():
        client = RespClient(acting_as(secured, principal).redis_address)
        if not has.redis:
            with pytest.raises(StoreUnavailable, match="WRONGPASS"):
                client.call([("PING",)])
            continue
        for key in KEYS:
            got, put = client.call([("GET", key), ("SET", key, "v")])
            assert (not _denied(got), not _denied(put)) == (may_get(has, key), may_set(has, key)), (principal, key)  # fmt: skip
        assert _denied(client.call([("DBSIZE",)])[0]) != has.scans
        for command in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST"), ("EVAL", "return 1", 0), ("SHUTDOWN",)):  # fmt: skip
            assert _denied(client.call([command])[0]), (principal, command)
        client.close()


def _denied(reply: Any) -> bool:
    if isinstance(reply, hiredis.ReplyError):
        assert str(reply).startswith("NOPERM"), reply
        return True
    return False


def test_an_attacker_writes_as_a_producer_and_then_as_the_process_whose_topic_it_is(
    secured: Settings,
) -> None:
    for topic in ALL:
        part = part_of(writer(secured, topic.name))
        assert part is not None and topic in RIGHTS[part.username].writes
        assert (part.username == PRODUCER) == (topic in (TRANSACTIONS, LABELS))


def test_a_raw_batch_comes_in_with_a_password_and_only_where_its_sender_may_write(secured: Settings) -> None:
    raw = batch([record(0, None, b"{}")])
    assert send_batch(writer(secured, TRANSACTIONS.name), TRANSACTIONS.name, 0, raw) >= 0
    with pytest.raises(OSError, match=f"error {KafkaError.TOPIC_AUTHORIZATION_FAILED}"):
        send_batch(acting_as(secured, PRODUCER).kafka, DECISIONS.name, 0, raw)


def test_nobody_opens_a_transaction_that_holds_payments_back(secured: Settings) -> None:
    assert open_transaction(secured).held


def test_a_start_restores_the_lists_and_leaves_those_of_others(secured: Settings) -> None:
    admin = new_admin(acting_as(secured, BROKER).kafka)

    def entry(principal: str, topic: str) -> AclBinding:
        return AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{principal}", "*", AclOperation.WRITE, AclPermissionType.ALLOW)  # fmt: skip

    surplus, of_others = entry("scoring", ROLLOUTS.name), entry("company", TRANSACTIONS.name)
    missing = entry("scoring", DECISIONS.name)
    for future in admin.create_acls([surplus, of_others]).values():
        future.result(STALL_S)
    gone = AclBindingFilter(ResourceType.TOPIC, DECISIONS.name, ResourcePatternType.LITERAL, "User:scoring", "*", AclOperation.WRITE, AclPermissionType.ALLOW)  # fmt: skip
    for future in admin.delete_acls([gone]).values():
        assert future.result(STALL_S) == [missing]
    apply_rights(secured)

    def found() -> set[str]:
        return {str(one) for one in admin.describe_acls(EVERYTHING).result(STALL_S)}

    assert {str(missing), str(of_others)} <= found() and str(surplus) not in found()
    assert len(found()) == len(allowed(RIGHTS)) + 1
    until(lambda: written(secured, "scoring")[DECISIONS.name], STALL_S, "the right to be back")
