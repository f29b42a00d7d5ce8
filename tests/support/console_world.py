"""A console without a stack: its own SQLite file, sessions in memory, and answers of the rest of the stack as a test gives them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from fastapi.testclient import TestClient

from features.store.redis_client import Command
from infra.stack import settings_for
from models.decision import Decision, Reason
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy
from services.console.app import build_app
from services.console.kept.database import Database
from services.console.kept.follower import Standing
from services.console.kept.taking import Taker
from services.console.outside.parts import Outside
from services.console.people.door import Door
from services.console.people.sessions import Sessions
from services.console.problems import unknown
from services.console.wiring import Console
from services.console.work.cases import Cases
from services.console.work.desk import Desk
from streams.access.directory import read_directory
from streams.access.identity import add_person, prepare
from streams.access.logins import make_link
from streams.access.roles import ROLES, Role
from streams.contracts.text.json_encoding import encode
from streams.log.records import HEADER_ENTITIES, DecidedEntities, encode_entities

NOW_S = 1_780_000_020.0
PEOPLE: tuple[Role, ...] = tuple(role for role in ROLES if role != "service")


#: the live policy: a list that blocks two devices, of which one expires in five days
POLICY = Policy(
    version="1", review=0.5, decline=0.9,
    lists=(
        PolicyList(
            name="stolen", kind="block", field="device_id", owner="ann", reason="case 7", expires=datetime(2027, 1, 1, tzinfo=UTC),
            entries=(Entry("d-1"), Entry("d-2", datetime.fromtimestamp(NOW_S + 5 * 86_400, UTC), "bob", "chargebacks")),
        ),
    ),
)  # fmt: skip


class MemoryStore:
    """The commands of Redis that sessions use, over a dict. ``now_s`` is a test's clock."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        self._values: dict[str, bytes] = {}
        self._until: dict[str, float] = {}

    def call(self, commands: Sequence[Command]) -> list[Any]:
        return [getattr(self, f"_{command[0].lower()}")(*command[1:]) for command in commands]

    def _live(self, key: str) -> bool:
        if self._until.get(key, self.now_s + 1) <= self.now_s:
            self._del(key)
        return key in self._values

    def _set(self, key: str, value: bytes, _ex: str, seconds: int, _nx: str = "") -> str | None:
        if _nx and self._live(key):
            return None
        self._values[key], self._until[key] = value, self.now_s + seconds
        return "OK"

    def _get(self, key: str) -> bytes | None:
        return self._values[key] if self._live(key) else None

    def _expire(self, key: str, seconds: int) -> int:
        if not self._live(key):
            return 0
        self._until[key] = self.now_s + seconds
        return 1

    def _del(self, key: str) -> int:
        self._until.pop(key, None)
        return int(self._values.pop(key, None) is not None)

    def _incr(self, key: str) -> int:
        count = int(self._get(key) or 0) + 1
        self._values[key] = str(count).encode()
        return count

    def _ttl(self, key: str) -> int:
        return round(self._until[key] - self.now_s) if self._live(key) and key in self._until else -2


class FakeCommands:
    """Notes what it is asked and answers nothing."""

    def __init__(self) -> None:
        self.ran: list[tuple[Any, ...]] = []

    def run(
        self, *words: str, options: Sequence[str] = (), given: Sequence[str] = (), within_s: float = 60.0
    ) -> Any:
        self.ran.append((*words, *options, *given))
        return {"ran": list(words)}


class FakeOutside:
    """The rest of the stack: whatever is asked is noted, and answered from ``decisions``, or with little."""

    def __init__(self) -> None:
        self.commands = FakeCommands()
        self.asked: list[tuple[Any, ...]] = []
        self.decisions: dict[tuple[str, str], dict[str, Any]] = {}
        self.fails: Exception | None = None
        self.policy = POLICY
        #: as the real one asks for them
        self.settings = SimpleNamespace(declared=None)

    def _note(self, *what: Any) -> Any:
        self.asked.append(what)
        if self.fails is not None:
            raise self.fails
        return {}

    def status(self) -> dict[str, Any]:
        self._note("status")
        return {"state": "ready", "problems": [], "model": None, "alerts": [], "processes": []}

    def doctor(self) -> dict[str, Any]:
        return {"healthy": True, "findings": []}

    def beside(self, *what: Any) -> dict[str, Any]:
        return dict(self._note("beside", *what))

    def trace(self, *what: Any) -> dict[str, Any]:
        return dict(self._note("trace", *what))

    def lag(self) -> list[dict[str, Any]]:
        return []

    def sent_pages(self, count: int) -> list[dict[str, Any]]:
        return []

    def runbooks(self) -> list[str]:
        return ["KafkaDown"]

    def runbook(self, name: str) -> str:
        if name != "KafkaDown":
            raise unknown("there is none")
        return "# KafkaDown"

    def silence(self, *what: Any) -> str:
        self._note("silence", *what)
        return "s-1"

    def decision(self, tenant: str, transaction_id: str) -> Any:
        found = self.decisions.get((tenant, transaction_id))
        return None if found is None else (found, _Decided())

    def card(self, *what: Any) -> list[dict[str, Any]]:
        return []

    def dead_letters(self, reason: str | None) -> list[Any]:
        return []

    def models(self) -> list[dict[str, Any]]:
        return [{"version": "1.0.0"}]

    def model(self, version: str) -> dict[str, Any]:
        return {"version": version}

    def change_model(self, *what: Any) -> dict[str, Any]:
        self._note("change_model", *what)
        return {"state": "live"}

    def rollout(self) -> dict[str, Any]:
        return {"state": "idle"}

    def change_rollout(self, *what: Any) -> dict[str, Any]:
        self._note("change_rollout", *what)
        return {"state": "shadow"}

    def rules(self, now: datetime) -> dict[str, Any]:
        return {"rules": [{"name": "dear"}], "lists": []}

    def rules_text(self) -> tuple[str, str]:
        return "", "1"

    def live_policy(self) -> Policy:
        return self.policy

    def check_rules(self, text: str) -> dict[str, Any]:
        return Outside.check_rules(self, text)  # type: ignore[arg-type]

    def test_rules(self, text: str, since: str) -> Any:
        return self._note("test_rules", text, since)

    def propose_rules(self, text: str, person: str, why: str) -> Any:
        return self._note("propose_rules", text, person, why)

    def drift(self) -> dict[str, Any]:
        return {"findings": [], "retraining": []}

    def distribution(self, feature: str) -> dict[str, Any] | None:
        return None

    def audit(self, count: int) -> list[dict[str, Any]]:
        return []

    def verify_audit(self) -> dict[str, Any]:
        return {"ok": True}


class _Decided:
    served = None


#: 100.00 EUR at m-1
PAID = encode_entities(DecidedEntities("m-1", None, None, None, None, 10_000, "EUR"))


class Record:
    """A Kafka message as the taker reads it."""

    def __init__(
        self,
        topic: str,
        value: bytes | None,
        offset: int = 0,
        partition: int = 0,
        at_ms: int = 0,
        header: bytes | None = None,
    ) -> None:
        self._topic, self._value, self._offset, self._partition = topic, value, offset, partition
        self._at_ms = at_ms or int(NOW_S * 1000)
        self._headers = [] if header is None else [(HEADER_ENTITIES, header)]

    def topic(self) -> str:
        return self._topic

    def value(self) -> bytes | None:
        return self._value

    def offset(self) -> int:
        return self._offset

    def partition(self) -> int:
        return self._partition

    def timestamp(self) -> tuple[int, int]:
        return 2, self._at_ms

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers


def decided(transaction_id: str, decision: str = "review", **more: Any) -> Decision:
    """A decision, as scoring makes it."""
    at = datetime.fromtimestamp(NOW_S - 60, UTC)
    fields: dict[str, Any] = {
        "transaction_id": transaction_id, "decision": decision, "status": "scored", "score": 0.5, "model": "fraud",
        "reasons": [Reason("CARD_VELOCITY_1H", "7 payments in the last hour", 1.42)], "model_version": "1.0.0",
        "policy_version": "1", "features_version": "f", "arm": "champion", "shadow": {}, "rules": ["dear"], "event_time": at,
        "received_at": at, "decided_at": at, "latency_ms": 7.4, "card_id": "card-1", "tenant": "default",
    }  # fmt: skip
    return Decision(**fields | more)


class World:
    """One console with a person of each role, named like the role, and a client that is signed in as nobody."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        """``changed``: of the settings."""
        self.settings = msgspec.structs.replace(settings_for(folder / "home", 21000), **changed)
        self.access = self.settings.access_dir
        prepare(self.access, datetime.fromtimestamp(NOW_S - 1000, UTC))
        self.store = MemoryStore()
        self.sessions = Sessions(self.store)
        self.database = Database(self.settings.console_dir / "console.sqlite")
        self.taker = Taker(self.database)
        self.outside = FakeOutside()
        self.standing = Standing(0, 0.0, "")
        for role in PEOPLE:
            add_person(self.access, role, role, by="test", now=self.now())
        self.console = Console(
            settings=self.settings, database=self.database, sessions=self.sessions,
            door=Door(self.access, self.sessions, self.clock), desk=Desk(self.database), cases=Cases(self.database), outside=self.outside,  # type: ignore[arg-type]
            standing=lambda: self.standing, clock=self.clock, version="0",
        )  # fmt: skip
        self.app = build_app(self.console, folder / "dist")
        self._offset = 0

    def clock(self) -> float:
        return self.store.now_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.store.now_s, UTC)

    def client(self, person: str | None = None, tenants: Sequence[str] | None = None) -> TestClient:
        """A browser; signed in as a person without the cost of a password."""
        client = TestClient(
            self.app, base_url=self.settings.console, headers={"Sec-Fetch-Site": "same-origin"},
            raise_server_exceptions=False, client=("127.0.0.1", 50000),
        )  # fmt: skip
        if person is not None:
            if tenants is not None:
                make_link(self.access, person, by="test", now=self.now(), tenants=tenants)
            member = read_directory(self.access).active(person)
            assert member is not None
            token, _ = self.sessions.begin(person, member.added_at, self.clock())
            client.cookies.set("tollgate-21008", token)
        return client

    def take(self, *decisions: Decision, age_s: float = 60.0, amounts: bool = True) -> None:
        """Let the console take decisions; with ``amounts`` their payment is known: 100.00 EUR at m-1."""
        records = []
        for decision in decisions:
            self._offset += 1
            at_ms = int((self.store.now_s - age_s) * 1000)
            header = PAID if amounts else None
            records.append(Record("decisions", encode(decision), self._offset, at_ms=at_ms, header=header))
        self.taker.take(records, self.store.now_s)  # type: ignore[arg-type]


def public(decision: Decision) -> dict[str, Any]:
    """The public JSON of a decision."""
    found: dict[str, Any] = msgspec.to_builtins(decision)
    return found
