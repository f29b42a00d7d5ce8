"""What `tollgate up --secure` makes: certificates, passwords, Kafka's and Redis' configuration, and the rights of each process."""

from __future__ import annotations

import base64
import re
import shutil
import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import yaml

from features.store.redis_address import RedisAddress
from infra.backup.restoring import moved
from infra.stack import StackUsageError, refuse_edited, settings_for
from infra.stack.lifecycle import choose_form
from infra.stack.programs import principal_of, programs
from infra.stack.secure.certificates import RENEW_BEFORE, SERVER_LASTS, ensure_certificates
from infra.stack.secure.kafka_rights import allowed
from infra.stack.secure.preparing import ensure_files
from infra.stack.secure.redis_users import acl_file
from infra.stack.servers import kafka, monitoring, redis
from infra.stack.tools import CHECKOUT, Tools
from streams.log.rights import RIGHTS, Rights
from streams.log.topics import ALL, AUDIT, DECISIONS, ENTITIES, FEATURES, ROLLOUTS, TRANSACTIONS
from streams.runtime.kafka.connection import connection
from streams.runtime.secured import (
    BROKER,
    OPERATOR,
    PRINCIPAL_VARIABLE,
    PROMETHEUS,
    SecureFiles,
    authorization,
)
from streams.runtime.settings import Settings, acting_as, load_settings
from tests.support.rights import may_set
from tests.support.waiting import STALL_S

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
PAGE = CHECKOUT / "infra" / "decisions" / "0033-a-secured-stack.md"
TOOLS = Tools(
    python=Path("/v/bin/python"), drift_python=Path("/d/bin/python"), java=Path("/usr/bin/java"), kafka_jars=Path("/jars"),
    redis_server=Path("/usr/bin/redis-server"), prometheus=Path("/usr/bin/prometheus"),
    alertmanager=Path("/usr/bin/alertmanager"), haproxy=Path("/usr/sbin/haproxy"),
)  # fmt: skip


@pytest.fixture
def secured(tmp_path: Path) -> Settings:
    settings = settings_for(tmp_path, 21000, secure=True)
    ensure_files(settings.secure_files, NOW)
    return settings


def shaken_hands(files: SecureFiles, name: str) -> None:
    """One TLS connection between a server with the stack's certificate and a client that trusts the stack's authority."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(files.ca))
    ours, theirs = socket.socketpair()
    ours.settimeout(STALL_S)
    theirs.settimeout(STALL_S)

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        serving.join(STALL_S)


def test_a_client_that_trusts_the_authority_trusts_the_servers(tmp_path: Path) -> None:
    files = SecureFiles(tmp_path / "secure")
    assert ensure_certificates(files, datetime.now(UTC))
    for name in ("127.0.0.1", "localhost"):
        shaken_hands(files, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_hands(files, "127.0.0.2")
    other = SecureFiles(tmp_path / "other")
    ensure_certificates(other, datetime.now(UTC))
    files.ca.write_bytes(other.ca.read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_hands(files, "127.0.0.1")


def test_certificates_are_made_again_before_they_end_and_when_the_authority_is_new(tmp_path: Path) -> None:
    files = SecureFiles(tmp_path / "secure")
    ensure_certificates(files, NOW)
    authority, certificate = files.ca.read_bytes(), files.certificate.read_bytes()
    assert not ensure_certificates(files, NOW + SERVER_LASTS - RENEW_BEFORE - timedelta(days=1))
    assert ensure_certificates(files, NOW + SERVER_LASTS - RENEW_BEFORE)
    assert files.ca.read_bytes() == authority and files.certificate.read_bytes() != certificate
    files.keystore.unlink()
    assert ensure_certificates(files, NOW)
    files.ca_key.unlink()
    assert ensure_certificates(files, NOW)
    assert files.ca.read_bytes() != authority


def test_keys_and_passwords_are_their_owners_alone_and_stay(secured: Settings) -> None:
    files = secured.secure_files
    assert files.folder.stat().st_mode & 0o777 == 0o700
    found = {path.name: path.read_bytes() for path in files.folder.iterdir()}
    assert {f"{name}.password" for name in (*RIGHTS, BROKER)} < found.keys()
    assert {path.stat().st_mode & 0o777 for path in files.folder.iterdir()} == {0o600}
    words = [found[f"{name}.password"] for name in (*RIGHTS, BROKER)]
    assert len(set(words)) == len(words)
    ensure_files(files, NOW)
    assert {path.name: path.read_bytes() for path in files.folder.iterdir()} == found


def test_clients_come_as_who_they_are(secured: Settings) -> None:
    for principal in ("processor", OPERATOR):
        settings = acting_as(secured, principal)
        password = settings.secure_files.password(principal).read_text()
        assert connection(settings.kafka) == {
            "bootstrap.servers": "127.0.0.1:21000", "security.protocol": "sasl_ssl", "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": principal, "sasl.password": password, "ssl.ca.location": str(settings.secure_files.ca),
        }  # fmt: skip
        address = RedisAddress.of(settings.redis_address)
        assert (address.user, address.password, address.tls) == (principal, password, True)
        assert address.port == 21002 and address.ca_file == str(settings.secure_files.ca)
    assert connection(acting_as(secured, BROKER).kafka)["sasl.mechanism"] == "PLAIN"


def test_the_settings_file_holds_no_password_and_no_principal(
    secured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = acting_as(secured, "processor").save().read_text()
    words = [path.read_text() for path in secured.secure_files.folder.glob("*.password")]
    assert not any(word in text for word in words)
    assert load_settings(secured.root).principal == OPERATOR
    monkeypatch.setenv(PRINCIPAL_VARIABLE, "labels")
    found = load_settings(secured.root)
    assert found.principal == "labels" and connection(found.kafka)["sasl.username"] == "labels"
    refuse_edited(found)


def test_a_restored_stack_is_secured_as_before(secured: Settings, tmp_path: Path) -> None:
    restored = tmp_path / "restored"
    shutil.copytree(secured.keys_dir, restored / "keys")
    secured.save().rename(restored / "settings.json")
    found = moved(restored, 22000)
    assert found.secure and found.redis == "rediss://127.0.0.1:22002" and found.kafka == "127.0.0.1:22000"
    assert connection(found.kafka)["ssl.ca.location"] == str(restored / "keys" / "secure" / "ca.pem")
    refuse_edited(found)


def test_kafka_lets_nobody_in_without_a_password_and_allows_nothing_by_itself(secured: Settings) -> None:
    lines = dict(line.split("=", 1) for line in kafka.properties(secured).splitlines())
    assert lines["listeners"] == "SECURED://127.0.0.1:21000,CONTROLLER://127.0.0.1:21001"
    assert set(lines["listener.security.protocol.map"].split(",")) == {"SECURED:SASL_SSL", "CONTROLLER:SASL_SSL"}  # fmt: skip
    assert lines["allow.everyone.if.no.acl.found"] == "false" and lines["super.users"] == "User:broker"
    broker = secured.secure_files.password(BROKER).read_text()
    others = [secured.secure_files.password(name).read_text() for name in RIGHTS]
    text = kafka.properties(secured)
    assert broker in text and not any(word in text for word in others)
    plain = kafka.properties(settings_for(Path("/h"), 21000))
    assert "SASL" not in plain and "ssl" not in plain and "authorizer" not in plain


def test_redis_has_no_plain_port_and_no_user_without_a_password(secured: Settings) -> None:
    redis.prepare(secured)
    lines = dict(line.split(" ", 1) for line in redis.config(secured).splitlines())
    assert (lines["port"], lines["tls-port"]) == ("0", "21002")
    assert "requirepass" not in lines and "unixsocket" not in lines
    users = redis.users_file(secured).read_text()
    assert users.startswith("user default reset off\n")
    words = [path.read_text() for path in secured.secure_files.folder.glob("*.password")]
    assert not any(word in users for word in words)
    assert redis.with_password(secured) == secured


def test_prometheus_and_alertmanager_ask_for_a_password(secured: Settings) -> None:
    monitoring.prepare(secured)
    users = {
        name: yaml.safe_load((secured.root / name / "web.yml").read_text())["basic_auth_users"]
        for name in ("prometheus", "alertmanager")
    }
    assert users["prometheus"].keys() == RIGHTS.keys()
    assert users["alertmanager"].keys() == {OPERATOR, "console", PROMETHEUS}
    for name, command in (("prometheus", monitoring.prometheus_command), ("alertmanager", monitoring.alertmanager_command)):  # fmt: skip
        assert f"--web.config.file={secured.root / name / 'web.yml'}" in command(secured, Path("/bin/x"))
        assert not any("web.config" in word for word in command(settings_for(Path("/h"), 21000), Path("/bin/x")))  # fmt: skip
    sender = yaml.safe_load((secured.root / "prometheus" / "prometheus.yml").read_text())["alerting"]["alertmanagers"][0]  # fmt: skip
    word = secured.secure_files.password(PROMETHEUS)
    assert sender["basic_auth"] == {"username": PROMETHEUS, "password_file": str(word)}
    pair = f"{OPERATOR}:{secured.secure_files.password(OPERATOR).read_text()}".encode()
    assert authorization(secured.alertmanager) == {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}  # fmt: skip
    assert secured.alertmanager == "http://127.0.0.1:21005" and authorization("http://127.0.0.1:21005") == {}  # fmt: skip


def test_redis_users_have_the_keys_and_commands_of_the_table() -> None:
    table = {"one": Rights(keys=("a:*",), read_keys=("b:*",)), "two": Rights(), "none": Rights(redis=False)}
    first, one, two = acl_file(table, lambda name: f"word of {name}").splitlines()
    assert first == "user default reset off"
    assert re.fullmatch(r"user one reset on #[0-9a-f]{64} ~a:\* %R~b:\* -@all [+a-z |]+", one)
    assert {"+get", "+set", "+multi"} < set(one.split()) and "+scan" not in one.split()
    assert set(two.split()[5:]) == {
        "-@all", "+auth", "+hello", "+client|setname", "+quit", "+info", "+ping",
    }  # fmt: skip


def test_every_command_that_the_product_gives_is_a_right() -> None:
    """A forgotten one would show as EXECABORT, in a rare branch perhaps."""
    given = set()
    for path in (path for folder in ("features", "streams", "services") for path in (CHECKOUT / folder).rglob("*.py")):  # fmt: skip
        text = path.read_text()
        if re.search(r"RespClient|EdgeStore|redis_client|OneAtATime", text):
            given |= set(re.findall(r'\(\s*"([A-Z]{3,})"\s*,', text))
            given |= set(re.findall(r"\$\d+\\r\\n([A-Z]{3,})", text))
    assert {"MGET", "MSET", "ZREMRANGEBYSCORE", "EXPIREAT", "GETRANGE", "TTL"} <= given
    every = {command.upper() for has in RIGHTS.values() for command in has.commands}
    # LOADING is an answer, in a tuple like a command; AUTH every connection may say
    assert given - every <= {"AUTH", "LOADING"}


def test_every_process_has_rights_of_its_own(secured: Settings) -> None:
    table = programs(secured, TOOLS)
    ours = {program.name for program in table} - {
        "kafka",
        "redis",
        "alertmanager",
        "prometheus",
        "mlflow",
        "mlflow-door",
    }
    principals = {name: dict(program.environment)[PRINCIPAL_VARIABLE] for program in table if (name := program.name) in ours}  # fmt: skip
    assert set(principals.values()) <= RIGHTS.keys()
    assert principals["broker-warm-up"] == "warm-up" and principals["feast-apply"] == "feast"
    assert (principal_of("processor-1"), principal_of("broker-warm-up")) == ("processor", "broker-warm-up")
    two = programs(msgspec.structs.replace(secured, processors=2), TOOLS)
    assert {dict(p.environment)[PRINCIPAL_VARIABLE] for p in two if p.name.startswith("processor")} == {"processor"}  # fmt: skip


def test_what_only_one_may_say() -> None:
    def writers(topic: object) -> set[str]:
        return {name for name, has in RIGHTS.items() if topic in has.writes}

    assert writers(FEATURES) == {"processor"}
    assert writers(ENTITIES) == {"processor", "labels"}
    assert writers(DECISIONS) == {"scoring"}
    assert writers(ROLLOUTS) == writers(AUDIT) == {"rollout"}
    assert writers(TRANSACTIONS) == {"processor", "edge", "producer", OPERATOR}
    for topic in ALL:
        assert writers(topic), f"nobody may write {topic.name}"
    state = {name for name, has in RIGHTS.items() if may_set(has, "{t0}v1:card:c-1")}
    assert state == {"processor", "rebuild"}
    assert not RIGHTS[OPERATOR].keys


def test_the_lists_of_kafka_are_the_table() -> None:
    entries = {(e.principal, e.kind.name, e.name, e.by.name, e.operation.name) for e in allowed(RIGHTS)}
    assert ("scoring", "TOPIC", "decisions", "LITERAL", "WRITE") in entries
    assert ("scoring", "GROUP", "ledger-", "PREFIXED", "READ") in entries
    assert ("oncall", "GROUP", "*", "LITERAL", "DESCRIBE") in entries
    assert {name for _, kind, name, _, operation in entries if kind == "TOPIC" and operation == "WRITE"} == {t.name for t in ALL}  # fmt: skip
    assert not [entry for entry in entries if entry[4] in ("ALL", "ALTER", "DELETE", "CREATE")]


def test_the_page_shows_the_table() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)  # fmt: skip

    def names(cell: str) -> set[str]:
        return set(re.findall(r"`([^`]+)`", cell))

    shown = {row[0]: tuple(names(cell) for cell in row[1:]) for row in rows}
    everything = {topic.name for topic in RIGHTS[OPERATOR].reads}
    assert shown == {
        name: (
            {topic.name for topic in has.writes},
            {"all"} if {t.name for t in has.reads} == everything else {topic.name for topic in has.reads},
            set(has.keys),
            set(has.read_keys),
        )
        for name, has in RIGHTS.items()
    }


def test_a_mock_broker_cannot_be_secured(secured: Settings) -> None:
    with pytest.raises(StackUsageError, match="real Kafka"):
        choose_form(msgspec.structs.replace(secured, embedded=True), TOOLS)
    with pytest.raises(StackUsageError, match="real Kafka"):
        choose_form(secured, replace(TOOLS, java=None))
    assert choose_form(secured, TOOLS).redis_socket == ""
