"""The rollout process's topics: `rollouts` with the newest record of each model, and `audit` with every answer.

An answer is written to `audit` first. If it changes what is served, the record on `rollouts` follows, with the head of the audit
at that moment; both are signed. ``<home>/rollout`` keeps the newest records and the head, so that neither topic can lose its end
unnoticed.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from confluent_kafka import Producer

from streams.access.audit_chain import Head, NoEntry, hash_of, opened, seal, sealed_by
from streams.access.directory import read_directory
from streams.access.identity import service
from streams.access.private_files import write_private
from streams.access.signatures import signed
from streams.access.signed_record import Signed, headers, received
from streams.contracts.audit import AuditEntry
from streams.contracts.rollout import RolloutRecord
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts.feed import RolloutReader, read_all
from streams.log.rollouts.kept import keep, kept_rollout
from streams.log.rollouts.verified import kept_records
from streams.log.topics import AUDIT, ROLLOUTS
from streams.runtime.kafka.clients import flush
from streams.runtime.metrics import FORGERIES
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
FLUSH_S = 30.0
#: request ids kept to recognise repeated requests; people make them, so this covers years
REMEMBERED = 10_000
HEAD_FILE = "audit-head.json"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit entry says, without its place in the chain: see ``AuditEntry``."""

    action: str
    model: str = ""
    version: str | None = None
    by: str
    signed_by: str = ""
    role: str = ""
    why: str = ""
    request_id: str


class Ledger:
    """The newest record per model, the head of the audit, and the ids of answered requests. ``recover`` reads them."""

    def __init__(self, settings: Settings, producer: Producer, now: datetime) -> None:
        self._settings, self._producer = settings, producer
        self._identity = service(settings.access_dir, "rollout", now)
        self._sent: dict[str, Signed] = {}
        self.newest: dict[str, RolloutRecord] = {}
        self.answered: dict[str, None] = {}
        #: ids of entries about people and services
        self.noted: set[str] = set()
        self.head = Head()

    def recover(self, *, timeout_s: float = 30.0) -> None:
        """Read both topics to their ends, and complete what a crash left undone.

        Raises:
            RolloutsUnreachable: the topics could not be read in time. DeliveryError: a record was not acknowledged.
        """
        settings = self._settings
        unfinished = self._recover_audit(timeout_s)
        reader = RolloutReader(settings)
        for record, found in kept_records(settings.rollout_dir, read_directory(settings.access_dir)):
            self._sent[record.model] = found
        for message in read_all(settings, ROLLOUTS.name, timeout_s=timeout_s):
            newer = reader.take(message)
            if newer is not None:
                self._sent[newer.model] = received(message)
        self.newest = dict(reader.newest)
        for record, head in unfinished:
            known = self.newest.get(record.model)
            if known is None or record.sequence > known.sequence:
                self._publish(record, head)
        for model in self.newest:
            keep(settings.rollout_dir, model, self._sent[model])

    def write(self, record: RolloutRecord, said: Statement) -> None:
        """Write an answer that changes what is served: its audit entry, then the record; both are acknowledged on return.

        Raises:
            DeliveryError: one was not acknowledged in time; start again with ``recover``.
        """
        self.note(said, "accepted", msgspec.to_builtins(record), record.since)
        self._publish(record, self.head)

    def note(
        self, said: Statement, result: Literal["accepted", "refused"], detail: dict[str, Any], now: datetime
    ) -> None:
        """Append an entry to `audit`; it is acknowledged on return.

        Raises:
            DeliveryError: it was not acknowledged in time; start again with ``recover``.
        """
        entry = AuditEntry(
            entry=self.head.entries + 1, previous=self.head.hash, at=now, result=result, detail=detail,
            **msgspec.structs.asdict(said),
        )  # fmt: skip
        raw = seal(entry, self._identity)
        self._producer.produce(AUDIT.name, raw, said.model.encode())
        flush(self._producer, FLUSH_S)
        self._set_head(Head(entry.entry, hash_of(raw)))
        self._remember(said.action, said.request_id)

    def restore(self, model: str) -> None:
        """Write the newest record of a model again: somebody else wrote to `rollouts` after it."""
        record = self._sent[model]
        self._producer.produce(ROLLOUTS.name, record.value, model.encode(), headers=headers(record))
        flush(self._producer, FLUSH_S)

    def sequence(self, model: str) -> int:
        """The highest sequence number that replicas may have seen, also of a record that a replaced key signed."""
        found = self.newest.get(model) or kept_rollout(self._settings.rollout_dir, model)
        return found.sequence if found is not None else 0

    def is_newest(self, model: str, value: bytes | None) -> bool:
        """Whether these bytes are the newest record of a model."""
        return model in self._sent and self._sent[model].value == value

    def _publish(self, record: RolloutRecord, head: Head) -> None:
        record = msgspec.structs.replace(record, audit_entries=head.entries, audit_head=head.hash)
        self._sent[record.model] = signed(self._identity, ROLLOUTS.name, encode(record))
        self.newest[record.model] = record
        self.restore(record.model)
        keep(self._settings.rollout_dir, record.model, self._sent[record.model])

    def _recover_audit(self, timeout_s: float) -> list[tuple[RolloutRecord, Head]]:
        """Follow the audit to its end; returns the records that it announces last, with the head at that moment.

        Not those that a replaced key signed: whoever has it could announce anything.
        """
        announced: dict[str, tuple[bytes, Head]] = {}
        directory = read_directory(self._settings.access_dir)
        for message in read_all(self._settings, AUDIT.name, timeout_s=timeout_s):
            raw = message.value() or b""
            try:
                entry = opened(raw, directory)
            except NoEntry as error:
                FORGERIES.labels(AUDIT.name, "wrong").inc()
                logger.error("audit offset %s is not taken: %s", message.offset(), error)
                continue
            self._remember(entry.action, entry.request_id)
            if entry.entry > self.head.entries:
                self.head = Head(entry.entry, hash_of(raw))
                if "sequence" in entry.detail:
                    announced[entry.model] = (raw, self.head)
        noted = read_head(self._settings.rollout_dir)
        if noted.entries > self.head.entries:
            logger.error(
                "audit ends at entry %d, but entry %d was written: it was cut (`tollgate audit verify`)",
                self.head.entries, noted.entries,
            )  # fmt: skip
            self.head = noted
        else:
            self._set_head(self.head)
        return [
            (msgspec.convert(opened(raw, directory).detail, RolloutRecord), head)
            for raw, head in announced.values()
            if sealed_by(raw, self._identity)
        ]

    def _set_head(self, head: Head) -> None:
        self.head = head
        write_private(self._settings.rollout_dir / HEAD_FILE, msgspec.json.encode(head))

    def _remember(self, action: str, request_id: str) -> None:
        # what is read from files again and again
        if action.startswith(("access", "skip", "console")):
            self.noted.add(request_id)
            return
        self.answered[request_id] = None
        while len(self.answered) > REMEMBERED:
            del self.answered[next(iter(self.answered))]


def read_head(folder: Path) -> Head:
    """The head of the audit that the rollout process noted; without a note, that of an empty chain."""
    try:
        return msgspec.json.decode((folder / HEAD_FILE).read_bytes(), type=Head)
    except FileNotFoundError:
        return Head()
