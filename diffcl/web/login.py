"""Log-in: who asks, by a token in the header, as 3D Slicer sends it, or in a browser's cookie, and what they may."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final, Protocol
from urllib.parse import parse_qsl, quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffcl.access.audit import AuditTrail
from diffcl.access.hosts import is_loopback
from diffcl.access.roles import User
from diffcl.errors import DiffclError
from diffcl.web.answers import header, refuse, route_path
from diffcl.web.permissions import audited, needed_role

COOKIE: Final = "diffcl_session"

logger = logging.getLogger(__name__)


class Users(Protocol):
    """Those who may come in."""

    def log_in(self, name: str, password: str, address: str = "") -> str:
        """A token for a name and password."""

    def user(self, token: str) -> User | None:
        """Whose token it is."""


class LogIn:
    """An application that only those may use who have logged in, each as the role says.

    Who asks is `scope["state"]["user"]`, a `User`. Without users everybody on this machine may do everything, and
    nobody else anything.

    Args:
        app: The application.
        users: Those who may come in, if somebody has to log in.
        audit: Where is written who did what.
    """

    def __init__(self, app: ASGIApp, users: Users | None = None, audit: AuditTrail | None = None) -> None:
        self._app, self._users, self._audit = app, users, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what may be asked; answer 401 or 403, or show browsers where to log in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        address = (scope.get("client") or ("",))[0]
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if await self._may(scope, query, address, watched):
                await self._app(scope, receive, watched)
        finally:
            self._write(scope, query, address, status)

    async def _may(self, scope: Scope, query: Mapping[str, str], address: str, send: Send) -> bool:
        """Whether to hand on; where not, that was answered already."""
        path = route_path(scope)
        role = needed_role(scope["method"], path, query.get("tag", ""))
        here = is_loopback(address)
        if self._users is None:
            if not here:
                way = "See diffcl serve --users"
                await refuse(send, 403, f"server: without log-in it answers this machine alone. {way}")
            return here
        monitor = path == "/metrics" and here and header(scope, "x-forwarded-for") is None
        if role is None or monitor:
            return True
        token = token_of(scope)
        try:
            user = await run_in_threadpool(self._users.user, token) if token else None
        except DiffclError as error:
            logger.warning("%s", error)
            await refuse(send, 503, "log-in: cannot be checked now. Tell who runs the server")
            return False
        if user is None:
            await self._show_the_way(scope, send)
            return False
        scope.setdefault("state", {})["user"] = user
        if user.role < role:
            await refuse(send, 403, f"user: may not do this, which takes the role {role.word}")
        return user.role >= role

    @staticmethod
    async def _show_the_way(scope: Scope, send: Send) -> None:
        """Send browsers that open a page to the log-in, and tell programs to."""
        if scope["method"] == "GET" and "text/html" in (header(scope, "accept") or ""):
            root = str(scope.get("root_path", ""))
            wanted = quote(
                route_path(scope) + ("?" + scope["query_string"].decode("latin-1")).rstrip("?"), safe=""
            )
            answer = RedirectResponse(f"{root}/auth/login?next={wanted}", 303)

            async def nothing() -> Message:
                return {"type": "http.disconnect"}

            await answer(scope, nothing, send)
        else:
            await refuse(send, 401, "log-in: needed, or over. Log in again", {"WWW-Authenticate": "Bearer"})

    def _write(self, scope: Scope, query: Mapping[str, str], address: str, status: int) -> None:
        act = audited(scope["method"], route_path(scope), query) if self._audit else None
        if self._audit and act:
            user: User | None = scope.get("state", {}).get("user")
            try:
                self._audit.write(user.name if user else "", address, act[0], act[1], status)
            except OSError as error:
                logger.error(f"The audit trail cannot be written: {error}")


def token_of(scope: Scope) -> str:
    """The token of a request, of its header or else of its cookie; empty where there is none."""
    kind, _, token = (header(scope, "authorization") or "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(header(scope, "cookie") or "").get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
