"""The console's API against its own OpenAPI document: requests that schemathesis makes from it, fitting and not, by an admin.

Whatever is asked, the answer is no defect of the console: what the document promises, or a problem (RFC 9457) that says what is wrong.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance

from services.console.app import described
from services.console.problems import PROBLEM_JSON
from tests.support.console_world import World, decided

load_all_checks()
#: requests of one operation: enough for a sample, CONSOLE_EXAMPLES=200 looks for more
EXAMPLES = int(os.environ.get("CONSOLE_EXAMPLES", "4"))
SCHEMA = schemathesis.openapi.from_dict(described().openapi())
FOUND = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
OPERATIONS = {f"{found.method.upper()} {found.path}": found for found in FOUND}
#: never ends by itself; ends the session that asks
LEFT_OUT = {"GET /api/v1/events", "DELETE /api/v1/session"}
MODES = {"fitting": GenerationMode.POSITIVE, "not fitting": GenerationMode.NEGATIVE}


def asked(client: TestClient, case: schemathesis.Case) -> Any:
    headers, content = {}, None
    if not isinstance(case.body, schemathesis.core.NotSet):
        headers["Content-Type"] = "application/json"
        content = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    return client.request(
        case.method, case.formatted_path, params=case.query or None, content=content, headers=headers
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    world = World(tmp_path_factory.mktemp("world"))
    world.take(decided("tx-1"))
    return world.client("admin")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - LEFT_OUT))
def test_whatever_is_asked_is_answered(client: TestClient, name: str, mode: str) -> None:
    operation = OPERATIONS[name]
    if mode == "not fitting" and not (operation.body or operation.query or operation.path_parameters):
        pytest.skip("it takes nothing that could not fit")

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=MODES[mode]))
    def ask(case: schemathesis.Case) -> None:
        found = asked(client, case)
        assert found.status_code < 500, (name, case.query, case.body, found.text[:500])
        if found.status_code >= 400:
            said = found.json()
            assert found.headers["Content-Type"] == PROBLEM_JSON
            assert said["status"] == found.status_code and said["detail"] and said["reason"]
        elif found.headers.get("Content-Type", "").startswith("application/json"):
            case.validate_response(found, checks=[response_schema_conformance])

    try:
        ask()
    except Unsatisfiable:
        pytest.skip("any text fits")


def test_every_operation_of_the_document_is_asked() -> None:
    paths = described().openapi()["paths"]
    assert OPERATIONS.keys() == {
        f"{method.upper()} {path}" for path, found in paths.items() for method in found
    }
