"""A client of the HTTP edge: ``Client`` (blocking) and ``AsyncClient``. Both retry within a deadline, with the same id."""

from services.client.answers import ItemProblem, ModelInfo
from services.client.async_client import AsyncClient
from services.client.client import Client
from services.client.problems import (
    Conflict,
    Invalid,
    NotFound,
    OverQuota,
    Problem,
    TollgateError,
    Unavailable,
    Unreachable,
)
from services.client.retries import Retry

__all__ = [
    "AsyncClient", "Client", "Conflict", "Invalid", "ItemProblem", "ModelInfo", "NotFound", "OverQuota", "Problem",
    "Retry", "TollgateError", "Unavailable", "Unreachable",
]  # fmt: skip
