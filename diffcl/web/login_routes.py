"""The addresses of the log-in: the form that 3D Slicer fills in, and a page for browsers, in which OHIF runs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from diffcl.access.roles import User
from diffcl.access.tokens import TooManyError, WrongPasswordError
from diffcl.web.docs_page import STYLE
from diffcl.web.handlers import RequestQueue
from diffcl.web.http_errors import refusals
from diffcl.web.login import COOKIE, Users

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

PAGE: Final = """<!doctype html><html lang=en><title>diffcl</title><style>{style}</style><h1>diffcl</h1><p>{said}</p>
<form method=post><input type=hidden name=next value="{next}"><p><label>Name
<input name=username autocomplete=username required autofocus></label><p><label>Password
<input name=password type=password autocomplete=current-password required></label><p><button>Log in</button></form>"""

Text = Annotated[str, Form(max_length=1024)]

MOST: Final = 32
"""Log-ins that may wait or run."""

AT_ONCE: Final = 2
"""How many run."""

LogInOfOne = Callable[[Request, str, str], Awaitable[str]]
"""Gives a token for a name and password that came with a request."""


def router(users: Users) -> APIRouter:
    """The addresses of the log-in."""
    queue = RequestQueue(lambda: MOST, AT_ONCE, "log-in")

    async def log_in(request: Request, name: str, password: str) -> str:
        """A token; passwords take long to check, and hold few threads however many come."""
        token: str = await queue(partial(run_in_threadpool, logged_in, users, request, name, password))
        return token

    made = APIRouter(prefix="/auth", tags=["Auth"])
    made.add_api_route("/", enabled, methods=["GET"])
    made.add_api_route("/token", token_form(log_in), methods=["POST"])
    made.add_api_route("/token/valid", valid, methods=["GET"])
    made.add_api_route("/login", page, methods=["GET"], include_in_schema=False)
    made.add_api_route("/login", page_form(log_in), methods=["POST"], include_in_schema=False)
    made.add_api_route("/logout", logout, methods=["POST"], include_in_schema=False)
    return made


async def enabled() -> dict[str, Any]:
    """Whether one has to log in; Slicer asks before every call."""
    return {"enabled": True, "client_id": "diffcl", "realm": ""}


def token_form(log_in: LogInOfOne) -> Callable[..., Awaitable[dict[str, str]]]:
    """The handler that gives a token for a name and password."""

    async def token(request: Request, username: Text, password: Text) -> dict[str, str]:
        """A token for a name and password, the OAuth2 password form."""
        return {"access_token": await log_in(request, username, password), "token_type": "bearer"}

    return token


async def valid(request: Request) -> dict[str, Any]:
    """Whose token it is; 401 for one that is worth nothing."""
    user: User = request.state.user
    return {"username": user.name, "email": None, "name": user.name, "roles": [user.role.word]}


async def page(next: str = "/") -> HTMLResponse:  # noqa: A002
    """A page to log in with a browser."""
    return login_page("Log in to go on.", next)


def page_form(log_in: LogInOfOne) -> Callable[..., Awaitable[Response]]:
    """The handler of the page's form."""

    async def enter(
        request: Request,
        username: Text,
        password: Text,
        next: Annotated[str, Form(max_length=8192)] = "/",  # noqa: A002
    ) -> Response:
        """Log in with a browser: the token stays in a cookie that no script reads and no other page sends."""
        try:
            token = await log_in(request, username, password)
        except HTTPException as error:
            return login_page(str(error.detail), next, error.status_code)
        root = str(request.scope.get("root_path", "")).rstrip("/")
        answer = RedirectResponse(root + own_address(next), 303)
        answer.set_cookie(
            COOKIE,
            token,
            path=root or "/",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    return enter


async def logout(request: Request) -> Response:
    """Log out with a browser."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    answer = RedirectResponse(f"{root}/auth/login", 303)
    answer.delete_cookie(COOKIE, path=root or "/")
    return answer


def own_address(address: str) -> str:
    r"""An address inside this server, or its start.

    >>> [own_address(one) for one in ("/ohif/?a=b", "//evil.example", "https://evil.example", "/\\evil.example")]
    ['/ohif/?a=b', '/', '/', '/']
    """
    return address if re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", address) else "/"


def login_page(said: str, wanted: str, status: int = 200) -> HTMLResponse:
    """The page, with what it says."""
    text = PAGE.format(style=STYLE, said=escape(said), next=escape(own_address(wanted)))
    return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})


def logged_in(users: Users, request: Request, name: str, password: str) -> str:
    """A token for a name and password.

    Raises:
        HTTPException: 401 if they do not go together, 429 after many wrong ones, 503 if that cannot be found out.
    """
    try:
        with refusals():
            try:
                return users.log_in(name, password, request.client.host if request.client else "")
            except WrongPasswordError as error:
                raise HTTPException(401, str(error), {"WWW-Authenticate": "Bearer"}) from error
            except TooManyError as error:
                raise HTTPException(429, str(error), {"Retry-After": str(error.seconds)}) from error
    except HTTPException as error:
        if error.status_code == 422:  # the file of users, of which nobody outside shall know more
            raise HTTPException(503, "log-in: cannot be checked now. Tell who runs the server") from error
        raise
