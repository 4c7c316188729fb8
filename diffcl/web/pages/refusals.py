"""Whatever is refused on the way to a page is a page too, where a browser asks."""

from __future__ import annotations

import json
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffcl.web.answers import header, route_path
from diffcl.web.pages.rendering import told

TITLES: Final = {403: "Not allowed", 404: "Not found"}
"""Titles of the pages for answers that have a name."""


class RefusedPages:
    """An application of which browsers that look at the pages of the study get every refusal as a page.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on; put a page in the place of a refusal in JSON."""
        if scope["type"] != "http" or not _is_page(scope):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        content = b""

        async def watched(message: Message) -> None:
            nonlocal start, content
            if message["type"] == "http.response.start" and _is_refusal(message):
                start = message
            elif start is None:
                await send(message)
            else:
                content += message.get("body", b"")
                if not message.get("more_body", False):
                    answer = told(Request(scope), *_said(start["status"], content))
                    kept = ("set-cookie", "retry-after", "www-authenticate")
                    for name, value in start["headers"]:
                        if name.decode("latin-1").lower() in kept:
                            answer.headers.append(name.decode("latin-1"), value.decode("latin-1"))
                    await answer(scope, receive, send)

        await self._app(scope, receive, watched)


def _is_page(scope: Scope) -> bool:
    path = route_path(scope)
    return (path == "/" or path.startswith("/study/")) and "text/html" in (header(scope, "accept") or "")


def _is_refusal(message: Message) -> bool:
    kind = next((value for name, value in message.get("headers", ()) if name.lower() == b"content-type"), b"")
    return message["status"] >= 400 and kind.startswith(b"application/json")


def _said(status: int, content: bytes) -> tuple[str, str, int]:
    """Title, sentence and status of the page in the place of a refusal."""
    try:
        said = str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        said = "That does not work."
    return TITLES.get(status, "That does not work"), said, status
