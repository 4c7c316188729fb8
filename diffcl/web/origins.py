"""Requests of foreign pages are refused, and requests for another host's name.

A page of any site makes its reader's browser send requests to servers that only the reader can reach. Such a browser
says so: by `Origin` with everything that changes something, and by `Sec-Fetch-Site` with everything. A page may also
have its own name resolved to this server, which `Host` gives away. Programs send neither and are let through.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from diffcl.access.hosts import is_address, is_loopback, plain_host
from diffcl.web.answers import SAFE_METHODS, header, refuse, route_path

PORTS: Final = {"http": 80, "https": 443}

FOREIGN: Final = ("cross-site", "same-site")
"""What a browser says of a request of another page; `same-site` is another port or a neighbouring name."""


class SameOrigin:
    """An application that pages of its own origin, and programs, may use.

    Args:
        app: The application.
        hosts: Names by which it may be asked, besides those of this machine alone and its own address.
        origins: Other origins whose pages may use it, such as `https://viewer.example:3000`.
        pages: Beginnings of the paths that other pages may link to.
        way: How a further name is allowed, for those who asked by it.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = (),
        origins: Collection[str] = (),
        pages: Collection[str] = (),
        way: str = "--allow-host NAME",
    ) -> None:
        self._app = app
        self._hosts = {plain_host(host) for host in hosts}
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._pages = tuple(pages)
        self._way = way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421 for a foreign host and 403 for a foreign page; hand on what else comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        names = [value for key, value in scope["headers"] if key == b"host"]
        host = names[0].decode("latin-1") if len(names) == 1 else ""
        if not self._is_own(host, scope):
            await refuse(send, 421, f"host: not a name of this server. Start it with {self._way}")
        elif self._is_foreign(host, scope):
            await refuse(
                send, 403, "origin: a page of another site asks. Use the server's own pages or a program"
            )
        else:
            await self._app(scope, receive, send)

    def _is_own(self, host: str, scope: Scope) -> bool:
        name = plain_host(host)
        server = (scope.get("server") or ("",))[0]
        return bool(name) and (
            is_loopback(name) or name in self._hosts or (is_address(name) and name == server)
        )

    def _is_foreign(self, host: str, scope: Scope) -> bool:
        origin, site = header(scope, "origin"), header(scope, "sec-fetch-site")
        if origin is not None:
            return not (same_place(origin, host) or origin.lower() in self._origins)
        if site in FOREIGN:
            return not self._is_link(scope)
        referer = header(scope, "referer")
        changes = scope["method"] not in SAFE_METHODS
        return changes and site is None and referer is not None and not same_place(referer, host)

    def _is_link(self, scope: Scope) -> bool:
        """Whether a person followed a link to one of the pages that are there for people."""
        path = route_path(scope)
        return (
            scope["method"] == "GET"
            and header(scope, "sec-fetch-mode") == "navigate"
            and header(scope, "sec-fetch-dest") == "document"
            and (path == "/" or path.startswith(self._pages))
        )


def same_place(url: str, host: str) -> bool:
    """Whether an origin or address is that of a `Host`, by name and port; the scheme gives a port that is not said.

    >>> same_place("https://a.example", "a.example:443"), same_place("http://a.example:81/x", "a.example")
    (True, False)
    """
    try:
        parts = urlsplit(url)
        asked = urlsplit(f"//{host}")
        usual = PORTS.get(parts.scheme)
        return (
            usual is not None
            and parts.hostname == asked.hostname
            and (parts.port or usual) == (asked.port or usual)
        )
    except ValueError:
        return False
