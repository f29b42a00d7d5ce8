"""Requests that nobody known signed: each is counted, and at most one audit entry a minute says how many there were."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta

from services.rollout.ledger import Ledger, Statement
from streams.access.signatures import Forged
from streams.access.signed_record import Signed
from streams.log.topics import ROLLOUT_REQUESTS
from streams.runtime.metrics import FORGERIES

logger = logging.getLogger(__name__)
#: the audit is never compacted: whoever may write requests must not be able to fill it
EVERY = timedelta(minutes=1)
_NAME_CHARACTERS = 64


class Forgeries:
    """Counts refused requests of one process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._since: datetime | None = None
        self._untold = 0

    def refuse(self, record: Signed, error: Forged, now: datetime) -> None:
        """Count one. Raises: DeliveryError, its audit entry could not be written."""
        FORGERIES.labels(ROLLOUT_REQUESTS.name, error.reason).inc()
        self._untold += 1
        if self._since is not None and now - self._since < EVERY:
            return
        logger.error("a rollout request is refused: %s", error)
        name = "".join(c for c in record.signed_by[:_NAME_CHARACTERS] if c.isprintable())
        said = Statement(action="forged request", by=name, why=str(error)[:200], request_id=uuid.uuid4().hex)
        self._ledger.note(said, "refused", {"requests": self._untold}, now)
        self._since, self._untold = now, 0
