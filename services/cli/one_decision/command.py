"""``tollgate decisions show``, ``explain`` and ``replay``: one decision whole, where it comes from, and made again."""

from __future__ import annotations

import time

from infra.stack import served_model
from models.bundle.content import Bundle
from services.cli.one_decision.explained import explained, explained_lines
from services.cli.one_decision.replayed import replayed, replayed_lines
from services.cli.one_decision.shown import answer_of, bundle_of
from services.cli.one_decision.view import lines
from services.cli.terminal.exits import CheckFailed
from services.cli.terminal.options import reply
from services.cli.terminal.words import visible
from streams.audit.decided_payment import DecidedPayment, find_decision
from streams.runtime.settings import Settings


def show_decision(settings: Settings, tenant: str, transaction_id: str, as_json: bool) -> None:
    """Print one decision.

    Raises:
        CheckFailed: nothing is known of the transaction.
    """
    found, bundle = _found(settings, tenant, transaction_id)
    answer = answer_of(found, bundle)
    reply(answer, as_json, map(visible, lines(answer)))


def explain_decision(settings: Settings, tenant: str, transaction_id: str, as_json: bool) -> None:
    """Print where a decision comes from: what moved its score, model, training run, data, code.

    Raises:
        CheckFailed: nothing is known of the transaction. CannotReplay: its model is gone.
    """
    answer = explained(settings, *_found(settings, tenant, transaction_id))
    reply(answer, as_json, map(visible, explained_lines(answer)))


def replay_decision(
    settings: Settings, tenant: str, transaction_id: str, as_json: bool, *, today: bool = False
) -> int:
    """Make a decision again and print where it differs; returns 0, or 1 if it does. ``today``: with what is live now, which may differ.

    Raises:
        CheckFailed: nothing is known of the transaction. CannotReplay: something that it was made with is gone.
    """
    found, bundle = _found(settings, tenant, transaction_id)
    if today:
        live = served_model(settings)
        bundle = bundle_of(settings, live["version"]) if live is not None else None
    answer = replayed(found, bundle, today=today)
    reply(answer, as_json, map(visible, replayed_lines(answer)))
    return 0 if today or answer["identical"] else 1


def _found(settings: Settings, tenant: str, transaction_id: str) -> tuple[DecidedPayment, Bundle | None]:
    found = find_decision(settings, tenant, transaction_id, time.time())
    if found is None:
        raise CheckFailed(
            f"no decision of {transaction_id} (tenant {tenant}) in the index (60 days), among the newest decisions or in the archive; was it refused? "
            "`tollgate dead-letters list`"
        )
    return found, bundle_of(settings, str(found.decision.get("model_version")))
