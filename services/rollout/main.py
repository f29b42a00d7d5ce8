"""The rollout process: reads requests from `rollout-requests`, carries plans out, writes to `rollouts` and `audit`."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from confluent_kafka import Consumer

from services.rollout.guard import Guard
from services.rollout.ledger import Ledger
from services.rollout.process import Rollout
from streams.access.directory import AccessError
from streams.access.signed_record import received
from streams.contracts.invalid_event import InvalidEvent
from streams.log.rollouts.feed import RolloutsUnreachable
from streams.log.topics import ROLLOUT_REQUESTS
from streams.runtime.kafka.broker_loss import remembering
from streams.runtime.kafka.clients import is_record, new_consumer, new_producer
from streams.runtime.process import Process, start_process
from streams.runtime.set_aside import OneByOne
from streams.runtime.skips import SkipsError

logger = logging.getLogger(__name__)
GROUP = "rollout"
#: how often to look for a first model while none is served, for people added or revoked, and at the end of `rollouts`
LOOK_S = 1.0
#: how long to wait for the broker at start before exiting; the supervisor then restarts this process
START_S = 120.0


def main() -> None:
    """Run until asked to stop."""
    process = start_process("rollout-0")
    settings = process.settings
    ledger = Ledger(settings, new_producer(settings.kafka, process.name), datetime.now(UTC))
    if not _recover(process, ledger):
        return
    rollout = Rollout(settings, ledger)
    rollout.settle(datetime.now(UTC))
    guard = Guard(settings.kafka, ledger)
    consumer = new_consumer(settings.kafka, GROUP, **remembering())
    consumer.subscribe([ROLLOUT_REQUESTS.name])
    logger.info("ready: %s", {model: record.champion for model, record in ledger.newest.items()})
    try:
        _serve(process, rollout, guard, consumer, OneByOne(settings, process.name, GROUP))
    finally:
        consumer.close()
        guard.close()
        rollout.runs.close()


def _serve(process: Process, rollout: Rollout, guard: Guard, consumer: Consumer, records: OneByOne) -> None:
    looked = 0.0
    while not process.stop.is_set():
        process.heartbeat.moves()
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            rollout.note_access(datetime.now(UTC))
            _note_skips(rollout)
            _note_console(rollout)
            rollout.serve_first(datetime.now(UTC))
            guard.look(looked)
        rollout.runs.tick(datetime.now(UTC), time.monotonic())
        message = consumer.poll(0.05 if rollout.runs.under_way else 0.2)
        if message is None or not is_record(consumer, message):
            continue
        if not records.takes(message):
            try:
                with records.handling(message):
                    rollout.handle(received(message), datetime.now(UTC))
            except InvalidEvent as error:
                logger.error("a rollout request does not parse: %s", error)
                records.refuse(message, error)
        consumer.commit(message, asynchronous=False)


def _note_skips(rollout: Rollout) -> None:
    try:
        rollout.note_skips(datetime.now(UTC))
    except (SkipsError, ValueError) as error:
        # a person has spoilt the file: it is mended there, and this process has other work
        logger.error("what was set aside is not on the audit: %s", error)


def _note_console(rollout: Rollout) -> None:
    try:
        rollout.note_console(datetime.now(UTC))
    except AccessError as error:
        # as for skips
        logger.error("what happened at the console's door is not on the audit: %s", error)


def _recover(process: Process, ledger: Ledger) -> bool:
    """Read the ledger, waiting for the broker; False if the process was asked to stop meanwhile."""
    deadline = time.monotonic() + START_S
    while not process.stop.is_set():
        try:
            ledger.recover(timeout_s=15.0)
            return True
        except RolloutsUnreachable as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("waiting for the broker: %s", error)
            process.stop.wait(1.0)
    return False


if __name__ == "__main__":
    main()
