"""Problems as HTTP answers. Errors of routing and handlers use them too, in place of FastAPI's own format."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from services.scoring.edge.problems import PROBLEM_JSON, Problem, internal

#: methods of the mounted static files
FILE_METHODS = "GET, HEAD"


def problem_response(problem: Problem) -> Response:
    """The HTTP answer for a problem, with its headers."""
    return Response(problem.to_json(), problem.status, problem.headers, PROBLEM_JSON)


def wrong_method(allow: str) -> Problem:
    """405. ``allow``: the methods that the route accepts, as in the Allow header."""
    return Problem(405, "method", f"this route accepts {allow}", allow=allow)


def no_route() -> Problem:
    """404: no route has this path."""
    return Problem(404, "no_route", "there is no such route; /docs lists all routes")


def add_problems(app: FastAPI) -> None:
    """Answer unknown routes, wrong methods and uncaught errors with problems. The server logs uncaught errors."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            problem = no_route()
        elif error.status_code == 405:
            problem = wrong_method((error.headers or {}).get("Allow", FILE_METHODS))
        else:
            problem = Problem(error.status_code, "http", HTTPStatus(error.status_code).phrase)
        return problem_response(problem)

    async def failed(*_: object) -> Response:
        return problem_response(internal())

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, failed)
