"""A real Kafka that asks for a password (SCRAM): every kind of client comes in with the one that settings.toml names, and not without."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import aiokafka
import pytest
from confluent_kafka import KafkaException
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from infra.stack import settings_for
from infra.stack.servers import kafka
from infra.stack.tools import find_tools
from streams.log.topics import DRIFT, Copies, ensure_topics
from streams.runtime.kafka.clients import flush, new_admin, new_consumer, new_producer
from streams.runtime.kafka.connection import KafkaAddress, faust_credentials
from streams.runtime.parts import KafkaPart
from tests.support.waiting import STALL_S, until

JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[KafkaAddress]:
    """A broker whose clients' listener asks for SCRAM, and how the user `tollgate` connects to it."""
    tools = find_tools()
    if not tools.real_kafka:
        pytest.skip("needs Java 17 and Kafka's jars (`make setup` brings them)")
    settings = settings_for(tmp_path_factory.mktemp("kafka"), free_port_base())
    (settings.temp_dir / "tmp").mkdir(parents=True, exist_ok=True)
    servers = f"127.0.0.1:{settings.port_base + 8}"
    path = kafka.properties_file(settings)
    path.parent.mkdir()
    path.write_text(_properties(kafka.properties(settings), servers))
    java = kafka.command(settings, tools)[:-2]
    user = "SCRAM-SHA-512=[name=tollgate,password=the-right-one]"
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", "TTTTTTTTTTTTTTTTTTTTTg", "-c", path, "--add-scram", user],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    password = settings.root / "password"
    password.write_text("the-right-one\n")
    part = KafkaPart(
        bootstrap=servers, security="sasl_plaintext", username="tollgate", password_file=str(password),
        replication_factor=1, min_in_sync_replicas=1,
    )  # fmt: skip
    with (settings.root / "log").open("wb") as log:
        broker = subprocess.Popen([*java, "kafka.Kafka", path], stdout=log, stderr=log)
    try:
        found = KafkaAddress(servers, part)
        until(lambda: _answers(found), 90, "a broker that takes the password")
        yield found
    finally:
        broker.kill()
        broker.wait(STALL_S)


def _properties(own: str, servers: str) -> str:
    lines = dict(line.split("=", 1) for line in own.splitlines())
    lines["listeners"] += f",COMPANY://{servers}"
    lines["advertised.listeners"] += f",COMPANY://{servers}"
    lines["listener.security.protocol.map"] = (
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,COMPANY:SASL_PLAINTEXT"
    )
    lines["sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
    lines["listener.name.company.scram-sha-512.sasl.jaas.config"] = JAAS
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _answers(address: str) -> bool:
    try:
        new_admin(address).list_topics(timeout=2)
    except KafkaException:
        return False
    return True


def test_topics_records_and_groups(address: KafkaAddress) -> None:
    ensure_topics(address, 2, Copies(1, 1))
    producer = new_producer(address, "test", log_level=0)
    producer.produce(DRIFT.name, value=b"hello")
    flush(producer, 60)
    consumer = new_consumer(address, "test", log_level=0)
    consumer.subscribe([DRIFT.name])
    message = until(lambda: consumer.poll(1.0), 60, "the record")
    consumer.close()
    assert message.value() == b"hello"


def test_fausts_consumer(address: KafkaAddress) -> None:
    async def read() -> bytes:
        ensure_topics(address, 2)
        consumer = aiokafka.AIOKafkaConsumer(
            DRIFT.name, bootstrap_servers=str(address), group_id="faust", auto_offset_reset="earliest",
            **credentials_to_aiokafka_auth(faust_credentials(address), None),
        )  # fmt: skip
        await consumer.start()
        try:
            async with asyncio.timeout(60):
                return bytes((await consumer.getone()).value)
        finally:
            await consumer.stop()

    producer = new_producer(address, "test", log_level=0)
    ensure_topics(address, 2)
    producer.produce(DRIFT.name, value=b"hello")
    flush(producer, 60)
    assert asyncio.run(read()) == b"hello"


def test_without_the_password_nobody_comes_in(address: KafkaAddress, tmp_path: Path) -> None:
    assert address.part is not None
    wrong = tmp_path / "wrong"
    wrong.write_text("the-wrong-one")
    part = KafkaPart(bootstrap=str(address), security="sasl_plaintext", username="tollgate", password_file=str(wrong), replication_factor=1, min_in_sync_replicas=1)  # fmt: skip
    assert not _answers(KafkaAddress(str(address), part))
    assert not _answers(str(address))
