"""Records that would change what is served, by somebody who may write to Kafka but has no key: nothing follows from them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import msgspec

from models.bundle.content import MODEL
from models.bundle.registry import versions
from models.rollout.transitions import RolloutRequest
from services.rollout.confirmation import running, serving
from streams.access.signed_record import Signed, headers, received
from streams.contracts.retraining import RetrainingRequest
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts.feed import newest_rollout, read_all
from streams.log.topics import AUDIT, RETRAINING, ROLLOUT_REQUESTS, ROLLOUTS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.attack.attacker import writer
from tests.attack.registry import Finding, attack
from tests.support.running import run_cli

#: nobody signs as the rollout process or as a person here
NAMES = ("", "rollout", "drift", "root", "nobody")


def _write(settings: Settings, topic: str, *records: Signed) -> None:
    producer = new_producer(writer(settings, topic), "mallory")
    for record in records:
        producer.produce(topic, record.value, MODEL.encode(), headers=headers(record))
    flush(producer, 30)


def _forged(value: bytes) -> list[Signed]:
    return [Signed(value, name, signature) for name in NAMES for signature in (b"", b"x" * 64)]


def _served(settings: Settings) -> dict[str, tuple[str, int] | None]:
    """What each replica serves: version and sequence."""
    found = {name: serving(settings, name) for name in running(settings)}
    return {name: None if told is None else (told.version, told.served) for name, told in found.items()}


def _after_an_honest_request(settings: Settings) -> None:
    """An honest request that changes nothing is answered: all that stood before it on its topic was read."""
    done = run_cli(settings, "models", "reject", "0.0.0")
    assert done.returncode == 1, done.stderr[-500:]


@attack("forged requests and rollout records")
def forged_rollouts(settings: Settings) -> Finding:
    """A rejected or unknown version is asked for and announced, and an old true record is sent again."""
    before, record = _served(settings), newest_rollout(settings, MODEL)
    if record is None:
        return Finding(False, "no model is served")
    asked = RolloutRequest(
        request_id=uuid.uuid4().hex, action="rollback", model=MODEL, version=None, by="mallory", why="", requested_at=datetime.now(UTC),
    )  # fmt: skip
    _write(settings, ROLLOUT_REQUESTS.name, *_forged(encode(asked)))
    lie = msgspec.structs.replace(record, champion="9.9.9", sequence=record.sequence + 1)
    old = [received(message) for message in read_all(settings, ROLLOUTS.name, timeout_s=30)][:1]
    _write(
        settings,
        ROLLOUTS.name,
        *_forged(encode(lie)),
        *old,
        *(Signed(one.value[:-1], one.signed_by, one.signature) for one in old),
    )
    _after_an_honest_request(settings)
    after, now = _served(settings), newest_rollout(settings, MODEL)
    held = after == before and now == record
    return Finding(
        held,
        f"served {before} before, {after} after; in force: {record.sequence} before, {now and now.sequence} after",
    )


@attack("forged retraining")
def forged_retraining(settings: Settings) -> Finding:
    """Requests without a pause between trainings, by nobody who may ask."""
    before, now = versions(settings.bundles_dir, MODEL), datetime.now(UTC)
    for cooldown_s in (0.0, 3600.0):
        asked = RetrainingRequest(
            model=MODEL, reason="drift", evidence=[], data_from=now - timedelta(days=1), data_to=now, requested_at=now,
            dedupe_key=f"forged-{uuid.uuid4().hex}", cooldown_s=cooldown_s, requested_by="drift",
        )  # fmt: skip
        value = encode(asked)
        _write(
            settings,
            RETRAINING.name,
            *_forged(value),
            *_forged(value.replace(b'"cooldown_s":0.0', b'"cooldown_s":-1')),
        )
    answers = settings.root / "trainer" / "answers.json"
    trained = answers.exists() and any(
        a["dedupe_key"].startswith("forged") for a in json.loads(answers.read_bytes())
    )
    after = versions(settings.bundles_dir, MODEL)
    return Finding(before == after and not trained, f"versions {before} before, {after} after")


@attack("junk on the audit")
def junk_on_the_audit(settings: Settings) -> Finding:
    """A made-up answer and a copy of a true entry, at the end of the audit: verify finds both, and work goes on."""
    entries = [message.value() or b"" for message in read_all(settings, AUDIT.name, timeout_s=30)]
    _write(
        settings,
        AUDIT.name,
        Signed(b'{"entry":1,"result":"accepted"}'),
        *(Signed(raw) for raw in entries[:1]),
    )
    report = json.loads(run_cli(settings, "audit", "verify", "--json").stdout)
    _after_an_honest_request(settings)
    held = not report["ok"] and report["entries"] > len(entries) and report["first_bad"] is not None
    return Finding(held, f"audit verify says {json.dumps(report)[:200]}")
