"""Headers that keep a browser from doing with an answer what nobody meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "cache-control": "no-store",
}
"""Headers of every answer that has no others: scans and labels stay in no cache, and nothing in them runs."""

TRANSPORT: Final = "max-age=31536000"
"""The header by which a browser that came by TLS comes by nothing else for a year."""


class SecurityHeaders:
    """An application whose answers carry headers.

    Args:
        app: The application.
        headers: Names in lower case, and values, for every answer that does not say otherwise itself.
    """

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = HEADERS) -> None:
        self._app, self._headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add what an answer has not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = dict(self._headers)
        if scope["scheme"] == "https":
            wanted["strict-transport-security"] = TRANSPORT

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                known = {name.lower() for name, _ in given}
                more = [(name.encode(), value.encode()) for name, value in wanted.items()]
                message = {**message, "headers": given + [one for one in more if one[0] not in known]}
            await send(message)

        await self._app(scope, receive, with_headers)
