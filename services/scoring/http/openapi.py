"""The OpenAPI document of the HTTP edge, from the same structs that parse and encode."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from features.identity import DEFAULT_TENANT
from features.transaction import Transaction
from models.decision import Decision
from services.scoring.decision.deadline import BATCH_DEADLINES
from services.scoring.edge.problems import PROBLEM_JSON
from services.scoring.http import examples as http_examples
from streams.contracts.deadline import DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS, MIN_DEADLINE_MS
from streams.contracts.label import Label

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457: why there is no decision",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "the invalid field; empty for the whole body"},
        "reason": {"type": "string", "description": "a short code for programs"},
    },
    "required": ["type", "title", "status", "detail", "field", "reason"],
}
_WORDS = {
    401: "An API key is required, or the one that was sent does not count",
    403: "The API key may not do this, or is another tenant's",
    404: "No decision is known for this id",
    408: "The request was not complete within 5 s of its first byte",
    409: "The id was sent before with different content",
    413: "The body is too large",
    415: "The body is compressed",
    422: "The input does not follow its contract",
    429: "The API key, without one the tenant, or the source of labels, exceeds its rate",
    500: "The edge failed and logged the error",
    503: "Overloaded, not ready, or Redis or Kafka is unavailable: see Retry-After",
}
#: problems of every route that needs an API key, where settings require one or the request has one
_KEY = ("unauthenticated", "forbidden")
#: problems of every route that takes a body
_BODY = (*_KEY, "too_slow", "too_large", "encoding", "field", "internal")


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    _, schemas = msgspec.json.schema_components(
        (Transaction, Label, Decision), ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate",
            "version": "1",
            "description": "Streaming fraud scoring: a transaction in, a decision out.",
        },
        "paths": {**_scoring_paths(), **_other_paths()},
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "tg_<id>_<secret>"}
            },
        },
        # a key, or none where settings require none
        "security": [{"key": []}, {}],
    }


def _scoring_paths() -> dict[str, Any]:
    deadline = {
        "name": "X-Deadline-Ms",
        "in": "header",
        "required": False,
        "description": f"Milliseconds in which the caller needs the decision; without it, a batch has {BATCH_DEADLINES} times the default",
        "schema": {
            "type": "integer",
            "minimum": MIN_DEADLINE_MS,
            "maximum": MAX_DEADLINE_MS,
            "default": DEFAULT_DEADLINE_MS,
        },
    }
    batch = _object("transactions", {"type": "array", "maxItems": 1000, "items": _ref("Transaction")})
    either = {"anyOf": [_ref("Decision"), _object("error", _ref("Problem"))]}
    score = {
        "summary": "Decide one transaction",
        "description": "The same id and content sent again gets the same decision; it is not scored twice.",
        "parameters": [deadline],
        "requestBody": _body(_ref("Transaction"), http_examples.TRANSACTION),
        "responses": {
            "200": _ok(_ref("Decision"), http_examples.decisions()),
            **_problems(*_BODY, "other_body", "over_quota", "overloaded", "unacknowledged"),
        },
    }
    many = {
        "summary": "Decide up to 1,000 transactions",
        "description": "Answers are in order; an invalid item gets its own error. Features of transactions of one card "
        "in one batch do not count each other.",
        "parameters": [deadline],
        "requestBody": _body(batch, {"transactions": [http_examples.TRANSACTION]}),
        "responses": {
            "200": _ok(_object("decisions", {"type": "array", "items": either}), http_examples.batch()),
            **_problems(*_BODY, "overloaded"),
        },
    }
    return {"/v1/score": {"post": score}, "/v1/score/batch": {"post": many}}


def _other_paths() -> dict[str, Any]:
    by_id = {"name": "transaction_id", "in": "path", "required": True, "schema": {"type": "string"}}
    tenant = {
        "name": "tenant", "in": "query", "description": "Whose transaction it is",
        "schema": {"type": "string", "default": DEFAULT_TENANT},
    }  # fmt: skip
    return {
        "/v1/decisions/{transaction_id}": _get(
            "The decision of a transaction",
            {
                "200": _ok(_ref("Decision"), http_examples.decisions()),
                **_problems(*_KEY, "unknown", "field", "internal", "store"),
            },
            [by_id, tenant],
        ),
        "/v1/labels": {
            "post": {
                "summary": "Report whether a transaction was fraud",
                "requestBody": _body(_ref("Label"), http_examples.LABEL),
                "responses": {"202": {"description": "Recorded"}, **_problems(*_BODY, "over_quota", "broker")},
            }
        },
        "/v1/model": _get("The model that is served now", {"200": _ok({"type": "object"}), **_problems(*_KEY)}),
        "/healthz": _get("The process runs", {"200": _ok({"type": "object"})}),
        "/readyz": _get("A model is loaded, Redis and Kafka answer", {"200": _ok({"type": "object"}), **_problems("not_ready")}),
        "/metrics": _get("Prometheus metrics", {"200": {"description": "Text format", "content": {"text/plain": {}}}, **_problems(*_KEY)}),
    }  # fmt: skip


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [field], "properties": {field: schema}}


def _body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _ok(schema: dict[str, Any], examples: dict[str, Any] | None = None) -> dict[str, Any]:
    shown = {"schema": schema} | ({"examples": examples} if examples else {})
    return {"description": "Done", "content": {"application/json": shown}}


def _problems(*reasons: str) -> dict[str, Any]:
    """Responses for problems of ``http_examples`` with these reasons, by status."""
    by_status: dict[int, list[str]] = {}
    for reason in reasons:
        by_status.setdefault(http_examples.PROBLEMS[reason].status, []).append(reason)
    return {
        str(status): {
            "description": _WORDS[status],
            "content": {
                PROBLEM_JSON: {"schema": _ref("Problem"), "examples": http_examples.problems(*named)}
            },
        }
        for status, named in sorted(by_status.items())
    }


def _get(
    summary: str, responses: dict[str, Any], parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {"get": {"summary": summary, "parameters": parameters or [], "responses": responses}}
