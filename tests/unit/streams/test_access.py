"""People and services of a stack: who is known, whose key it is, and what a signature proves."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from models.bundle.signing import KeyProblem, read_public_key_file
from streams.access.directory import (
    AccessDenied,
    AccessError,
    change_directory,
    read_directory,
    without_member,
)
from streams.access.identity import KEY_VARIABLE, acting, add_person, key_file, prepare, service, user_name
from streams.access.roles import MAY, ROLES, SERVICES, Permission, may
from streams.access.signatures import Forged, check_may, signed, signer
from streams.access.signed_record import Signed, headers, received
from streams.runtime.kafka.clients import headers_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Message:
    def __init__(self, value: bytes | None, headers: object) -> None:
        self._value, self._headers = value, headers

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> object:
        return self._headers


def test_the_first_start_makes_an_operator_and_the_services(tmp_path: Path) -> None:
    folder = tmp_path / "access"
    prepare(folder, NOW)
    prepare(folder, NOW + timedelta(days=1))
    known = read_directory(folder)
    assert [(m.name, m.role, m.added_at) for m in known.members] == [
        *((name, "service", NOW) for name in SERVICES), (user_name(), "operator", NOW),
    ]  # fmt: skip
    assert len(known.stack) == 16
    for path in (folder, folder / "keys"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    files = [folder / "directory.json", *(key_file(folder, m.name) for m in known.members)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_many_who_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    code = (
        "import sys;from datetime import UTC,datetime;from pathlib import Path;"
        "from streams.access.identity import prepare;prepare(Path(sys.argv[1]),datetime.now(UTC))"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [job.wait(60) for job in jobs] == [0] * 4
    names = [m.name for m in read_directory(tmp_path).members]
    assert sorted(names) == sorted([*SERVICES, user_name()])
    for name in SERVICES:
        assert service(tmp_path, name, NOW).name == name


def test_who_may_add_people(tmp_path: Path) -> None:
    prepare(tmp_path, NOW)
    directory = read_directory(tmp_path)
    assert directory.require(user_name(), "access").role == "operator"
    with pytest.raises(AccessDenied, match=r"nobody is not known.*tollgate access add nobody"):
        directory.require("nobody", "approve")
    add_person(tmp_path, "root-admin", "admin", by=user_name(), now=NOW)
    # once there is an admin, the operator does not say any more who is known
    with pytest.raises(AccessDenied, match="access takes admin"):
        read_directory(tmp_path).require(user_name(), "access")
    assert read_directory(tmp_path).require("root-admin", "access").name == "root-admin"


@pytest.mark.parametrize(
    "name", ["", "a b", "../x", "a/b", ".hidden", "-x", "x" * 65, "é", "rollout", "drift", "a\n"]
)
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(AccessError):
        add_person(tmp_path, name, "analyst", by="x", now=NOW)
    assert not read_directory(tmp_path).people()


def test_a_revoked_person_may_come_back_with_a_new_key(tmp_path: Path) -> None:
    first = add_person(tmp_path, "eve", "approver", by="x", now=NOW)
    with pytest.raises(AccessError, match="is known already"):
        add_person(tmp_path, "eve", "admin", by="x", now=NOW)
    old = acting(tmp_path, "eve", NOW)
    change_directory(tmp_path, lambda known: without_member(known, "eve", "x", NOW))
    with pytest.raises(AccessError, match="not known"):
        change_directory(tmp_path, lambda known: without_member(known, "eve", "x", NOW))
    add_person(tmp_path, "ada", "operator", by="x", now=NOW)
    with pytest.raises(AccessDenied, match="eve is not known"):
        acting(tmp_path, "eve", NOW)
    assert add_person(tmp_path, "eve", "analyst", by="x", now=NOW).key != first.key
    with pytest.raises(Forged, match="not eve's"):
        signer(read_directory(tmp_path), "t", signed(old, "t", b"v"))


def test_a_key_of_ones_own_lies_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, mine = tmp_path / "access", tmp_path / "mine.key"
    key = Ed25519PrivateKey.generate()
    mine.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    add_person(folder, "eve", "approver", by="x", now=NOW, public_key=key.public_key())
    assert not key_file(folder, "eve").exists()
    with pytest.raises(AccessError, match=KEY_VARIABLE):
        acting(folder, "eve", NOW)
    monkeypatch.setenv(KEY_VARIABLE, str(mine))
    for name in (None, "eve"):
        identity = acting(folder, name, NOW)
        assert signer(read_directory(folder), "t", signed(identity, "t", b"v")).name == "eve"
    with pytest.raises(AccessDenied, match="of eve, not of ada"):
        acting(folder, "ada", NOW)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "none.key"))
    with pytest.raises(AccessError, match="no private key"):
        acting(folder, None, NOW)


def test_a_public_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pub"
    for content in (
        b"text",
        X25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    ):
        path.write_bytes(content)
        with pytest.raises(KeyProblem):
            read_public_key_file(path)


def test_a_directory_that_does_not_parse_is_named(tmp_path: Path) -> None:
    for content in (b"{", b"\xff", b'{"stack": 1}'):
        (tmp_path / "directory.json").write_bytes(content)
        with pytest.raises(AccessError, match="does not parse"):
            read_directory(tmp_path)


def test_a_signature_is_for_one_value_topic_signer_and_stack(tmp_path: Path) -> None:
    identity = service(tmp_path / "a", "rollout", NOW)
    directory, other = read_directory(tmp_path / "a"), service(tmp_path / "b", "rollout", NOW)
    good = signed(identity, "rollouts", b"value")
    assert signer(directory, "rollouts", good).name == "rollout"
    assert check_may(directory, "rollouts", good, "serve").name == "rollout"
    with pytest.raises(Forged, match="lacks the permission approve"):
        check_may(directory, "rollouts", good, "approve")
    for topic, record in (
        ("audit", good),
        ("rollouts", Signed(b"valuE", good.signed_by, good.signature)),
        ("rollouts", Signed(b"value", "drift", good.signature)),
        ("rollouts", Signed(b"value", good.signed_by, good.signature[:-1])),
        ("rollouts", Signed(b"value", good.signed_by)),
        ("rollouts", signed(other, "rollouts", b"value")),
    ):
        with pytest.raises(Forged):
            signer(directory, topic, record)


@pytest.mark.parametrize(
    "found",
    [None, [], [("signed-by", None)], [("signed-by", b"\xff\xfe"), ("signature", b"")], [("signature", b"x" * 10_000)],
     [("signed-by", "text")]],
)  # fmt: skip
def test_headers_of_strangers_are_no_signature(tmp_path: Path, found: object) -> None:
    service(tmp_path, "rollout", NOW)
    with pytest.raises(Forged):
        signer(read_directory(tmp_path), "t", received(Message(None, found)))


class Unreadable(Message):
    """A record with a header whose name is not UTF-8, as confluent-kafka gives it: after one that it can read, with a SystemError."""

    def __init__(self, error: Exception) -> None:
        super().__init__(b"v", None)
        self.error = error

    def headers(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), SystemError("returned a result with an exception set")],
)  # fmt: skip
def test_a_header_whose_name_cannot_be_read_is_as_if_there_were_none(error: Exception) -> None:
    record: Any = Unreadable(error)
    assert headers_of(record) == []
    assert received(record) == Signed(b"v")


def test_headers_carry_a_signature_through_kafka(tmp_path: Path) -> None:
    record = signed(service(tmp_path, "rollout", NOW), "t", b"v")
    assert received(Message(b"v", headers(record))) == record


def test_every_service_can_do_exactly_its_own_thing() -> None:
    permissions: set[Permission] = set().union(*MAY.values(), *SERVICES.values())
    for permission in permissions:
        may_do = [name for name in SERVICES if may(name, "service", permission)]
        assert may_do == {"serve": ["rollout"], "retrain": ["drift"]}.get(permission, [])
        # a company's own program changes nothing that is served
        assert may("billing", "service", permission) == (permission in ("retrain", "score", "label", "read"))
    assert not any(may("ada", role, "serve") for role in ROLES)
    assert not any(may("rollout", role, "serve") for role in ROLES if role != "service")


def test_a_user_without_a_name_is_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, wanted in (
        ("ada", "ada"),
        ("DOM\\ada b", "DOM-ada-b"),
        ("..", "operator"),
        ("drift", "drift-user"),
    ):
        monkeypatch.setattr("getpass.getuser", lambda given=given: given)
        assert user_name() == wanted

    def nobody() -> str:
        raise KeyError("no passwd entry")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert user_name() == "operator"
    assert os.environ.get(KEY_VARIABLE) is None
