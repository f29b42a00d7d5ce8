"""The edge's answers as structs."""

from __future__ import annotations

from typing import Any

import msgspec

from models.decision import Decision
from services.client.problems import Problem, ProblemBody, item_problem


class ModelInfo(msgspec.Struct, frozen=True):
    """The answer of ``GET /v1/model``. ``version`` is None while no model is served; ``problem`` then gives the reason.

    ``challenger``: the other version of a rollout under way, with its ``share`` of the cards.
    """

    model: str
    version: str | None
    policy_version: str | None
    features_version: str
    arm: str
    challenger: dict[str, Any] | None = None
    rollout: dict[str, Any] | None = None
    problem: str | None = None


class ItemProblem(msgspec.Struct, frozen=True):
    """An item of a batch that got no decision."""

    problem: Problem


class _Error(msgspec.Struct):
    error: ProblemBody


class _Decisions(msgspec.Struct):
    decisions: list[msgspec.Raw]


_decision = msgspec.json.Decoder(Decision)
_decisions = msgspec.json.Decoder(_Decisions)
_error = msgspec.json.Decoder(_Error)
_model = msgspec.json.Decoder(ModelInfo)


def read_decision(content: bytes) -> Decision:
    """Raises: msgspec.MsgspecError."""
    return _decision.decode(content)


def read_model(content: bytes) -> ModelInfo:
    """Raises: msgspec.MsgspecError."""
    return _model.decode(content)


def read_batch(content: bytes) -> list[Decision | ItemProblem]:
    """The answers of a batch in order.

    Raises:
        msgspec.MsgspecError: the content is not a batch answer.
    """
    return [_item(bytes(raw)) for raw in _decisions.decode(content).decisions]


def _item(raw: bytes) -> Decision | ItemProblem:
    if raw.startswith(b'{"error":'):
        return ItemProblem(item_problem(_error.decode(raw).error))
    return _decision.decode(raw)
