"""An approval rests on evidence: the pack that it names is on the audit, and what does not hold is refused there by name."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from models.bundle.content import load_bundle
from models.bundle.registry import VersionState, write_state
from models.evidence.files import evidence_path, pack_hash, page_path
from models.evidence.pack import made_pack, write_pack
from models.rollout.transitions import RolloutRequest
from services.rollout.process import Rollout
from streams.access.audit_chain import opened
from streams.access.directory import read_directory
from streams.access.identity import acting
from streams.contracts.audit import AuditEntry
from streams.log.rollouts.feed import newest_rollout, read_all
from streams.log.topics import AUDIT
from tests.support.bundle_samples import give_evidence
from tests.support.rollout_stack import NOW, RolloutStack

MODEL = "fraud"


class Approving:
    """A rollout process that is asked to approve 1.1.0 while 1.0.0 is live."""

    def __init__(self, stack: RolloutStack) -> None:
        self.stack, self.number = stack, 0
        self.rollout = Rollout(stack.settings, stack.ledger())
        stack.publish("1.0.0", "approved")
        assert self.rollout.serve_first(NOW) == "1.0.0"
        stack.publish("1.1.0", author="tess")

    def __call__(self, evidence: str | None = None, now: datetime = NOW) -> AuditEntry:
        """Ask; returns the answer on the audit. ``evidence``: by default that of the pack as it lies there."""
        self.number += 1
        me = acting(self.stack.settings.access_dir, None, NOW).name
        request = RolloutRequest(
            request_id=f"r{self.number}", action="approve", model=MODEL, version="1.1.0", by=me, why="read it", requested_at=now,
            evidence=evidence,
        )  # fmt: skip
        assert self.rollout.handle(self.stack.sign(request), now)
        directory = read_directory(self.stack.settings.access_dir)
        entries = [
            opened(message.value() or b"", directory)
            for message in read_all(self.stack.settings, AUDIT.name, timeout_s=20)
        ]
        assert entries[-1].request_id == request.request_id
        return entries[-1]

    def refused(self, evidence: str | None = None, now: datetime = NOW) -> str:
        answer = self(evidence, now)
        assert answer.result == "refused" and self.stack.states()["1.1.0"] == "awaiting approval"
        return str(answer.detail["reason"])


@pytest.fixture
def approving(rollout_stack: RolloutStack) -> Approving:
    return Approving(rollout_stack)


def test_the_hash_that_was_approved_is_on_the_audit_and_on_the_record(approving: Approving) -> None:
    settings = approving.stack.settings
    named = pack_hash(settings.bundles_dir, MODEL, "1.1.0")
    answer = approving(named)
    assert answer.result == "accepted" and answer.detail["evidence"] == named
    newest = newest_rollout(settings, MODEL)
    assert newest is not None and (newest.champion, newest.evidence) == ("1.1.0", named)


def test_changed_missing_and_expired_evidence_is_refused_and_recorded(approving: Approving) -> None:
    settings = approving.stack.settings
    page = page_path(settings.bundles_dir, MODEL, "1.1.0")
    before = page.read_bytes()
    page.write_bytes(before + b" ")
    assert "it was changed" in approving.refused()
    page.unlink()
    assert "has no evidence pack" in approving.refused()
    page.write_bytes(before)
    bundle = load_bundle(settings.bundles_dir / MODEL / "1.1.0", settings.keys_dir / "trusted")
    pack = made_pack(bundle, bundle, None, now=NOW - timedelta(days=7))
    write_pack(settings.bundles_dir, settings.keys_dir, pack)
    assert "expired on 2026-01-02 00:00 UTC" in approving.refused()
    give_evidence(settings.root, "1.1.0")
    assert approving().result == "accepted"


def test_replayed_evidence_is_refused(approving: Approving) -> None:
    """That of another version, and one that was replaced since."""
    settings = approving.stack.settings
    other = pack_hash(settings.bundles_dir, MODEL, "1.0.0")
    assert "the approval names evidence" in approving.refused(other)
    for name in ("evidence.json", "evidence.html", "evidence.sig"):
        source = evidence_path(settings.bundles_dir, MODEL, "1.0.0", name)
        evidence_path(settings.bundles_dir, MODEL, "1.1.0", name).write_bytes(source.read_bytes())
    assert "it was changed" in approving.refused(other)
    bundle = load_bundle(settings.bundles_dir / MODEL / "1.1.0", settings.keys_dir / "trusted")
    older = write_pack(settings.bundles_dir, settings.keys_dir, made_pack(bundle, bundle, None, now=NOW))
    give_evidence(settings.root, "1.1.0")
    assert "the approval names evidence" in approving.refused(older)


def test_evidence_against_a_model_that_is_not_live_any_more_is_refused(approving: Approving) -> None:
    settings = approving.stack.settings
    bundle = load_bundle(settings.bundles_dir / MODEL / "1.1.0", settings.keys_dir / "trusted")
    write_pack(settings.bundles_dir, settings.keys_dir, made_pack(bundle, None, None, now=NOW))
    assert "compares it with no model, but 1.0.0 is live" in approving.refused()


def test_a_rejected_version_cannot_be_approved(approving: Approving) -> None:
    settings = approving.stack.settings
    told = VersionState(state="rejected", since=NOW, by="gates", why="average_precision: worse")
    write_state(settings.bundles_dir, MODEL, "1.1.0", told)
    answer = approving()
    assert answer.result == "refused" and "1.1.0 is rejected" in answer.detail["reason"]
    assert approving.stack.states()["1.1.0"] == "rejected"
