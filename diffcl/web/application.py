"""A FastAPI application that answers whatever goes wrong in one sentence, and the layers that protect it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from diffcl.access.audit import AuditTrail
from diffcl.errors import DiffclError
from diffcl.files import of_the_disk
from diffcl.version import version
from diffcl.web.checked_requests import CheckedRoute
from diffcl.web.docs_page import docs_page
from diffcl.web.failures import Failures
from diffcl.web.headers import SecurityHeaders
from diffcl.web.http_errors import sentence_of, status_of
from diffcl.web.limits import UPLOAD, Limits
from diffcl.web.log_lines import one_line
from diffcl.web.login import LogIn, Users
from diffcl.web.metrics import Counted, Metrics
from diffcl.web.origins import SameOrigin
from diffcl.web.pages.refusals import RefusedPages

PAGES: Final = ("/ohif/", "/docs", "/auth/login", "/study/")
"""Beginnings of the paths that pages of other sites may link to."""


class Refusal(BaseModel):
    """What is answered in place of what was asked for: one line with what is wrong, where, and what to do next."""

    detail: str


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Refusal, "description": said}
    for code, said in (
        ("4XX", "Refused, in one sentence."),
        (422, "Refused, in one sentence."),
        ("5XX", "Not possible now, in one sentence, or a fault, with its error id."),
    )
}
"""The refusals that the description of every operation names."""


def new_application(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]], tell: Callable[[str], str]
) -> FastAPI:
    """An application without operations, other than its description for people.

    Args:
        lifespan: What happens around the time in which it answers.
        tell: Takes from a sentence what no client should read.
    """
    made = FastAPI(
        title="diffcl",
        version=version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
    )
    made.router.route_class = CheckedRoute

    async def answered(_: Request, error: Exception) -> JSONResponse:
        """An answer other than success, as a sentence without paths of this machine."""
        status, detail = getattr(error, "status_code", 500), getattr(error, "detail", "")
        told = tell(detail) if isinstance(detail, str) else detail
        return JSONResponse({"detail": told}, status, headers=getattr(error, "headers", None))

    async def failed(_: Request, error: Exception) -> JSONResponse:
        """An error for people that no handler has turned into an answer, or what the system says of a disk.

        Raises:
            OSError: Any other one, which is a fault of the server.
        """
        found = of_the_disk(error) if isinstance(error, OSError) else error
        if not isinstance(found, DiffclError):
            raise error
        return JSONResponse({"detail": tell(sentence_of(found))}, status_of(found))

    made.add_exception_handler(HTTPException, answered)
    made.add_exception_handler(RequestValidationError, invalid)
    made.add_exception_handler(DiffclError, failed)
    made.add_exception_handler(OSError, failed)
    made.add_api_route("/docs", docs, include_in_schema=False)
    return made


async def invalid(_: Request, error: Exception) -> JSONResponse:
    """Parameters that are none, as a sentence that does not repeat them."""
    first: dict[str, Any] = next(iter(getattr(error, "errors", list)()), {})
    where = " ".join(str(part) for part in first.get("loc", ("request",)))
    return JSONResponse({"detail": one_line(f"{where}: {first.get('msg', 'not valid')}")[:300]}, 422)


async def docs(request: Request) -> HTMLResponse:
    """The description of the API, for people."""
    return docs_page(request.app.openapi())


def protected(
    app: ASGIApp,
    metrics: Metrics,
    *,
    users: Users | None = None,
    audit: AuditTrail | None = None,
    hosts: Collection[str] = (),
    origins: Collection[str] = (),
    upload: int = UPLOAD,
) -> ASGIApp:
    """An application behind everything that protects it.

    Args:
        app: The application.
        metrics: Where its requests are counted.
        users: Those who may come in, if somebody has to log in.
        audit: Where is written who did what.
        hosts: Further names by which it may be asked.
        origins: Other origins whose pages may use it.
        upload: Bytes of the largest request with files.
    """
    inside: ASGIApp = Limits(app, upload)
    if origins:
        inside = CORSMiddleware(
            inside,
            allow_origins=list(origins),
            allow_credentials=True,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    inside = SameOrigin(LogIn(inside, users, audit), hosts, origins, PAGES)
    return Counted(Failures(SecurityHeaders(RefusedPages(inside))), metrics)
