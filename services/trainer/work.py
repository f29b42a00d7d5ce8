"""One retraining in a child process, at low priority: ``python -m services.trainer.work --home H --request FILE``.

The last line of standard output is JSON: ``{"result": "published", "version": …}``, with ``"result": "rejected"`` and its reason where the
model failed a gate, or ``{"result": "refused", "reason": …}``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from features.transaction import epoch_ms
from models.bundle.content import MODEL, BundleRefused
from models.training.dataset import DatasetError
from models.training.learners.parameters import Parameters
from services.trainer.jobs import end_with_parent
from services.trainer.learning import Window, gather, kind_of, learn, live_by_state, same_data
from streams.contracts.retraining import RetrainingRequest
from streams.log.rollouts.feed import RolloutsUnreachable, newest_rollout
from streams.runtime.process import log_json_lines
from streams.runtime.settings import Settings, load_settings

#: below the hot path, which may be busy when drift requests a training
NICENESS = 15
logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True)
    parser.add_argument("--request", required=True, type=Path)
    parser.add_argument("--parent", type=int, help="end when the process with this id ends")
    args = parser.parse_args()
    if args.parent is not None:
        end_with_parent(args.parent)
    os.nice(NICENESS)
    log_json_lines("trainer-work")
    request = msgspec.json.decode(args.request.read_bytes(), type=RetrainingRequest)
    print(json.dumps(answer(load_settings(args.home), request, datetime.now(UTC))))


def answer(settings: Settings, request: RetrainingRequest, now: datetime) -> dict[str, str]:
    """Train for a request; returns the result."""
    if request.model != MODEL:
        return {
            "result": "refused",
            "reason": f"unknown model {request.model}: this stack trains only {MODEL}",
        }
    window = Window(epoch_ms(request.data_from), epoch_ms(request.data_to))
    try:
        source = gather(settings, window)
        if (known := same_data(settings, source)) is not None:
            return {
                "result": "refused",
                "reason": f"the data have not changed since {known} was trained on them: wait for labels of later transactions",
            }
        live = _live(settings)
        learned = learn(
            settings, source, now=now, by=request.requested_by, why=request.reason,
            state="awaiting approval", parameters=Parameters(kind=kind_of(settings, live)), live_version=live,
            request=request, progress=logger.info,
        )  # fmt: skip
    except (DatasetError, BundleRefused) as error:
        return {"result": "refused", "reason": str(error)}
    if learned.rejected_for:
        return {"result": "rejected", "version": learned.version, "reason": "; ".join(learned.rejected_for)}
    return {"result": "published", "version": learned.version}


def _live(settings: Settings) -> str | None:
    try:
        record = newest_rollout(settings, MODEL, timeout_s=10)
    except RolloutsUnreachable as error:
        logger.warning(
            "`rollouts` cannot be read, taking the live version from the states on disk: %s", error
        )
        return live_by_state(settings)
    return record.champion if record else None


if __name__ == "__main__":
    main()
