"""The trainer: handles one request from `retraining` at a time and commits its offset after answering it.

Heavy work runs in child processes at low priority, so that this process stays small and can stop quickly.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from models.bundle.content import MODEL
from models.bundle.registry import peek, states, versions
from services.trainer.answers import Answers, Result, TrainerAnswer
from services.trainer.jobs import JobFailed, run_job
from services.trainer.shown_performance import ShownPerformance
from services.trainer.tracking import pending, reachable
from streams.access.directory import read_directory
from streams.access.signatures import Forged, check_may
from streams.access.signed_record import Signed, received
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.retraining import RetrainingRequest, decode_retraining
from streams.contracts.text.json_encoding import encode
from streams.log.topics import RETRAINING
from streams.runtime.kafka.broker_loss import remembering
from streams.runtime.kafka.clients import is_record, new_consumer
from streams.runtime.metrics import DUPLICATES, FORGERIES, RETRAINING_RUNS
from streams.runtime.process import start_process
from streams.runtime.set_aside import OneByOne
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
GROUP = "trainer"
TRAINING_S = 900.0
TRACKING_S = 180.0
#: how often to check for versions that are not yet logged to MLflow
LOOK_S = 20.0
ATTEMPTS = 2

#: (request file, settings, stop) to the job's answer, None if stopped
Train = Callable[[Path, Settings, threading.Event], dict[str, Any] | None]


def train_in_process(request: Path, settings: Settings, stop: threading.Event) -> dict[str, Any] | None:
    """Train in a child process."""
    return run_job(
        "services.trainer.work",
        ["--home", settings.home, "--request", str(request)],
        stop=stop,
        timeout_s=TRAINING_S,
    )


class Trainer:
    """Answers requests one after the other; answers are stored on disk."""

    def __init__(self, settings: Settings, stop: threading.Event, train: Train = train_in_process) -> None:
        self._settings = settings
        self._stop = stop
        self._train = train
        self._folder = settings.root / "trainer"
        self._answers = Answers(self._folder)

    def handle(self, record: Signed, now: datetime) -> bool:
        """Answer one request; False only if the process was asked to stop before the answer.

        A request that nobody signed who may ask for a training is counted and trains nothing.

        Raises:
            InvalidEvent: it does not parse.
        """
        try:
            check_may(read_directory(self._settings.access_dir), RETRAINING.name, record, "retrain")
        except Forged as error:
            logger.error("a retraining request is refused: %s", error)
            FORGERIES.labels(RETRAINING.name, error.reason).inc()
            return True
        request = decode_retraining(record.value)
        rejected = self._rejected()
        if self._answers.settled(request, rejected):
            DUPLICATES.labels("trainer").inc()
            return True
        published = self._published_for(request.dedupe_key, rejected)
        if published is not None:
            return self._finish(request, now, "published", version=published)
        cooling = self._answers.cooling(request, rejected)
        if cooling is not None:
            return self._finish(request, now, "refused", reason=cooling)
        return self._work(request, now)

    def _work(self, request: RetrainingRequest, now: datetime) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "request.json"
        path.write_bytes(encode(request))
        reason = ""
        for attempt in range(ATTEMPTS):
            try:
                answer = self._train(path, self._settings, self._stop)
            except JobFailed as error:
                reason = str(error)
                logger.error("attempt %d of %d: %s", attempt + 1, ATTEMPTS, error)
                continue
            if answer is None:
                return False
            found = answer.get("result")
            result: Result = found if found in ("published", "rejected") else "refused"
            return self._finish(
                request, now, result, version=answer.get("version"), reason=answer.get("reason", "")
            )
        return self._finish(request, now, "failed", reason=reason)

    def _finish(
        self,
        request: RetrainingRequest,
        now: datetime,
        result: Result,
        *,
        version: str | None = None,
        reason: str = "",
    ) -> bool:
        self._answers.add(
            TrainerAnswer(
                dedupe_key=request.dedupe_key, model=request.model, result=result, version=version, reason=reason,
                requested_at=request.requested_at, answered_at=now,
            )
        )  # fmt: skip
        RETRAINING_RUNS.labels(result).inc()
        logger.info("request %s (%s): %s %s", request.dedupe_key, request.reason, result, version or reason)
        return True

    def _rejected(self) -> set[str]:
        found = states(self._settings.bundles_dir, MODEL)
        return {version for version, state in found.items() if state == "rejected"}

    def _published_for(self, dedupe_key: str, rejected: set[str]) -> str | None:
        """The version published for this request by a run that ended before it stored its answer."""
        known = states(self._settings.bundles_dir, MODEL)
        for version in reversed(versions(self._settings.bundles_dir, MODEL)):
            if version in rejected or known[version] == "published":
                continue
            request = peek(self._settings.bundles_dir, MODEL, version, "lineage.json").get("request")
            if isinstance(request, dict) and request.get("dedupe_key") == dedupe_key:
                return version
        return None


def track(settings: Settings, stop: threading.Event) -> None:
    """Log pending versions to MLflow if it answers; otherwise a later call does."""
    if not pending(settings) or not reachable(settings):
        return
    try:
        run_job("services.trainer.tracking", ["--home", settings.home], stop=stop, timeout_s=TRACKING_S)
    except JobFailed as error:
        logger.warning("logging to MLflow failed, will be retried: %s", error)


def main() -> None:
    """Run until asked to stop."""
    process = start_process("trainer-0")
    settings = process.settings
    trainer = Trainer(settings, process.stop)
    consumer = new_consumer(
        settings.kafka,
        GROUP,
        **{"max.poll.interval.ms": int((ATTEMPTS * TRAINING_S + TRACKING_S + 60) * 1000)},
        **remembering(),
    )
    consumer.subscribe([RETRAINING.name])
    records = OneByOne(settings, process.name, GROUP)
    shown = ShownPerformance(settings)
    looked = 0.0
    try:
        while not process.stop.is_set():
            process.heartbeat.moves()
            message = consumer.poll(0.5)
            if message is not None and is_record(consumer, message):
                with process.heartbeat.rests():
                    done = records.takes(message) or _handled(trainer, message, records)
                if done:
                    consumer.commit(message, asynchronous=False)
                looked = 0.0
            elif time.monotonic() - looked > LOOK_S:
                with process.heartbeat.rests():
                    track(settings, process.stop)
                    shown.look(process.stop, time.monotonic())
                looked = time.monotonic()
    finally:
        consumer.close()


def _handled(trainer: Trainer, message: Message, records: OneByOne) -> bool:
    """Whether a record is done with: answered, or kept as a dead letter because it is no request."""
    try:
        with records.handling(message):
            return trainer.handle(received(message), datetime.now(UTC))
    except InvalidEvent as error:
        logger.error("a retraining request does not parse: %s", error)
        records.refuse(message, error)
        RETRAINING_RUNS.labels("refused").inc()
        return True


if __name__ == "__main__":
    main()
