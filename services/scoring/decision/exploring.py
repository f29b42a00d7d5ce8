"""A replica's draws for exploration, by its stack's settings."""

from __future__ import annotations

from models.policy.exploration import Explorer
from services.scoring.ray.placement import HTTP_REPLICAS
from streams.runtime.settings import Settings


def explorer_of(settings: Settings, now_s: float) -> Explorer | None:
    """The draws of one replica, which has an equal part of each day's cap; None where nobody explores. ``now_s``: since 1970."""
    if not settings.exploration.on:
        return None
    return Explorer(settings.exploration, now_s * 1000, parts=settings.stream_replicas + HTTP_REPLICAS)
