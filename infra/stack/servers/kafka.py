"""Apache Kafka as a single KRaft node: its properties, the one-time formatting of its data folder, its command."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from infra.stack.errors import StackError
from infra.stack.ports import CONTROLLER
from infra.stack.tools import CHECKOUT, Tools
from streams.runtime.secured import BROKER
from streams.runtime.settings import Settings

LOG4J = CHECKOUT / "infra" / "stack" / "kafka-log4j2.properties"
HEAP_MB = 512


def properties(settings: Settings) -> str:
    """``server.properties`` of the node: loopback, replication factor 1, no automatic creation of topics.

    Raises:
        PartError: a secured stack's password is missing.
    """
    controller = settings.port_base + CONTROLLER
    clients = "SECURED" if settings.secure else "PLAINTEXT"
    entries = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"{clients}://{settings.kafka},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"{clients}://{settings.kafka}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": clients,
        **(_secured(settings) if settings.secure else {}),
        "log.dirs": data_dir(settings),
        "num.partitions": settings.partitions,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        # what follows an open transaction is not read: a producer that forgets its own holds payments back for so long. Clients ask
        # for this time if they say nothing
        "transaction.max.timeout.ms": 60_000,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 3000,
        # after SIGKILL a broker can register only once its old session has expired: 9 s by default
        "broker.session.timeout.ms": 4000,
        "broker.heartbeat.interval.ms": 1000,
        "controlled.shutdown.enable": "false",
        # few threads: a stack runs on two cores
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16_777_216,
    }
    return "".join(f"{key}={_ascii(str(value))}\n" for key, value in entries.items())


def _ascii(text: str) -> str:
    """A value as Java reads it from a file of properties, which it takes for Latin-1."""
    units = text.encode("utf-16-be")
    if text.isascii():
        return text
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _secured(settings: Settings) -> dict[str, str]:
    """TLS on both listeners, SCRAM for clients, and nothing allowed that no list allows.

    The broker itself comes by PLAIN, also to create the others' passwords: a SCRAM password of its own would have to be in Kafka
    before Kafka runs, and on the command line that formats the folder every user of the machine could read it.
    """
    files = settings.secure_files
    password = files.kafka(str(settings.kafka), BROKER).password
    login = "org.apache.kafka.common.security"
    plain = f'{login}.plain.PlainLoginModule required username="{BROKER}" password="{password}" user_{BROKER}="{password}";'
    return {
        "listener.security.protocol.map": "SECURED:SASL_SSL,CONTROLLER:SASL_SSL",
        "listener.name.secured.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.secured.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        "listener.name.secured.plain.sasl.jaas.config": plain,
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": plain,
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(files.keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files.ca),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{BROKER}",
        "allow.everyone.if.no.acl.found": "false",
    }


def data_dir(settings: Settings) -> Path:
    return settings.root / "kafka" / "data"


def properties_file(settings: Settings) -> Path:
    return settings.root / "kafka" / "server.properties"


def prepare(settings: Settings, tools: Tools) -> None:
    """Write the properties; format the data folder if it is new (about 1.5 s).

    Raises:
        StackError: the data folder cannot be formatted.
    """
    path = properties_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(properties(settings))
    if (data_dir(settings) / "meta.properties").exists():
        return
    command = [
        *_java(settings, tools, heap_mb=128),
        # it runs for a second: optimising its code takes longer than it saves
        "-XX:TieredStopAtLevel=1",
        "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(path), "--ignore-formatted",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Kafka's data folder {data_dir(settings)} was not formatted within 60 s") from error
    if done.returncode:
        output = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise StackError(f"Kafka's data folder {data_dir(settings)} cannot be formatted: {output[0]}")


def command(settings: Settings, tools: Tools) -> list[str]:
    """The broker, started once its disk has free space (infra.disk): on a full disk it would exit again and again."""
    waits = [str(tools.python), "-m", "infra.disk", str(settings.root)]
    java = _java(settings, tools, heap_mb=HEAP_MB)
    return [*waits, *java, "kafka.Kafka", str(properties_file(settings))]


def _java(settings: Settings, tools: Tools, *, heap_mb: int) -> list[str]:
    if tools.java is None or tools.kafka_jars is None:
        raise StackError("Kafka needs Java 17 and its jars: run `make setup`, or start with --embedded")
    return [
        str(tools.java),
        f"-Xms{heap_mb}m",
        f"-Xmx{heap_mb}m",
        # the parallel collector takes a sixth less of the broker's CPU than G1, which runs concurrently: a broker's garbage is
        # short-lived and its live set small. One thread: more would compete with the hot path
        "-XX:+UseParallelGC",
        "-XX:ParallelGCThreads=1",
        f"-Xmn{heap_mb // 2}m",
        "-Djava.awt.headless=true",
        # lz4's library is unpacked there, and figures for jps would be written to the system's temporary folder
        f"-Djava.io.tmpdir={settings.temp_dir / 'tmp'}",
        "-XX:-UsePerfData",
        f"-Dlog4j2.configurationFile={LOG4J}",
        "-cp",
        f"{tools.kafka_jars}/*",
    ]


def _cluster_id() -> str:
    # Kafka needs 16 bytes as URL-safe base64 without padding; a leading dash would be parsed as an option

    return "T" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
