"""A caller's tenant is that of its API key: a transaction, label or question may name the same one, or none."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from features.identity import DEFAULT_TENANT
from features.transaction import Transaction
from services.scoring.edge.problems import Problem, forbidden
from streams.access.api_keys import ApiKey
from streams.contracts.label import Label

#: a field that is null or an empty text names no tenant
_NAMED = re.compile(rb'"tenant"\s*:\s*(?!null|""|\s)')
Event = TypeVar("Event", Transaction, Label)


def of_caller(event: Event, raw: bytes, caller: ApiKey | None) -> Event:
    """The event with the caller's tenant; ``raw``: as it was sent.

    Raises:
        Problem: 403, it names another tenant.
    """
    if caller is None or event.tenant == caller.tenant:
        return event
    if event.tenant == DEFAULT_TENANT and not _NAMED.search(raw):
        return msgspec.structs.replace(event, tenant=caller.tenant)
    raise _another(caller, event.tenant)


def tenant_of(named: str | None, caller: ApiKey | None) -> str:
    """The tenant that a question is about; ``named``: in the question, or None.

    Raises:
        Problem: 403, it names another tenant than the caller's.
    """
    if caller is None:
        return DEFAULT_TENANT if named is None else named
    if named not in (None, caller.tenant):
        raise _another(caller, named)
    return caller.tenant


def _another(caller: ApiKey, named: str | None) -> Problem:
    return forbidden(
        f"the API key {caller.id} is of tenant {caller.tenant}, the request names {named}", "tenant"
    )
