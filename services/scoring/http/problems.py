"""Problems as HTTP answers, also where routing or a handler fails: FastAPI's own bodies are another form for callers to know."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from services.scoring.edge.problems import PROBLEM_JSON, Problem, internal

#: what is served beside routes are files
FILE_METHODS = "GET, HEAD"


def problem_response(problem: Problem) -> Response:
    """The answer that says it, with the headers that its status asks for."""
    return Response(problem.to_json(), problem.status, problem.headers, PROBLEM_JSON)


def wrong_method(allow: str) -> Problem:
    """405. ``allow``: the methods that the route takes, as the header has them."""
    return Problem(405, "method", f"this route takes {allow}", allow=allow)


def add_problems(app: FastAPI) -> None:
    """Answer unknown routes, wrong methods and errors that nothing caught with problems. The server logs the last."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            problem = Problem(404, "no_route", "there is no such route; /docs lists those there are")
        elif error.status_code == 405:
            problem = wrong_method((error.headers or {}).get("Allow", FILE_METHODS))
        else:
            problem = Problem(error.status_code, "http", HTTPStatus(error.status_code).phrase)
        return problem_response(problem)

    async def failed(*_: object) -> Response:
        return problem_response(internal())

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, failed)
