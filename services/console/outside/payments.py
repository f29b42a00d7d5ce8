"""Questions about payments: one decision whole, its card, its trace, what was refused."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import msgspec

from services.cli.one_decision.shown import answer_of, bundle_of
from services.cli.operating.tracing import as_builtins
from services.console.outside.asked import Asked
from services.console.outside.beside import beside
from services.console.outside.card_history import features_of_card, payments_of_card
from services.console.problems import unknown
from streams.audit.dead_letter_replay import Refused, list_refused
from streams.audit.decided_payment import DecidedPayment, find_decision
from streams.audit.trace_of import trace_of


class Payments(Asked):
    """The payments of one stack."""

    def decision(self, tenant: str, transaction_id: str) -> tuple[dict[str, Any], DecidedPayment] | None:
        """As ``tollgate decisions show --json``, and what it was made from; None if nothing is known of it."""
        settings = self.settings
        with self._reading():
            found = find_decision(settings, tenant, transaction_id, time.time())
        if found is None:
            return None
        return answer_of(found, bundle_of(settings, str(found.decision.get("model_version")))), found

    def card(self, tenant: str, card_id: str, until_ms: int, limit: int) -> list[dict[str, Any]]:
        """Archived payments of a card up to a moment, newest first."""
        with self._reading():
            return payments_of_card(self.settings.archive_dir, tenant, card_id, until_ms, limit)

    def beside(self, tenant: str, transaction_id: str) -> dict[str, Any]:
        """The decision's features beside the card's past and the live reference. Raises: Problem 404: they are kept nowhere."""
        settings, reference = self.settings, self._live().reference
        with self._reading():
            found = find_decision(settings, tenant, transaction_id, time.time())
            if found is None or found.served is None:
                raise unknown(f"the features of {transaction_id} (tenant {tenant}) are not kept any more")
            at = datetime.fromisoformat(str(found.decision["event_time"]))
            card_id = str(found.decision["card_id"])
            past = features_of_card(settings.archive_dir, tenant, card_id, at)
        return beside(found.served.features, reference, past)

    def trace(self, tenant: str, transaction_id: str) -> dict[str, Any]:
        """As ``tollgate trace --json``. Raises: Problem 404: the log does not hold it."""
        settings = self.settings
        with self._reading():
            found = find_decision(settings, tenant, transaction_id, time.time())
            traced = None if found is None else trace_of(settings, found)
        if found is None or traced is None:
            raise unknown(f"the log does not hold {transaction_id} (tenant {tenant}) any more")
        return as_builtins(traced, found.decision)

    def dead_letters(self, reason: str | None) -> list[Refused]:
        """All refused records, oldest first."""
        return list_refused(self.settings.kafka, reason)


def refused_row(refused: Refused) -> dict[str, Any]:
    """A dead letter as the API gives it: the original as text, as far as it can be read. Card numbers in it are masked already."""
    letter: dict[str, Any] = msgspec.to_builtins(refused.letter)
    raw = refused.letter.original_bytes()
    return {"id": refused.id, **letter, "original": None if raw is None else raw.decode("utf-8", "replace"), "replayed_at": refused.replayed_at}  # fmt: skip
