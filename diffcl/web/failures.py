"""Faults of the program: the log has the traceback under an error id, and the client gets that id alone."""

from __future__ import annotations

import logging
from secrets import token_hex

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffcl.web.answers import refuse

logger = logging.getLogger(__name__)


class Failures:
    """An application that answers 500 with an error id where the one inside raises."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on; answer what is raised, if nothing was answered yet."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if scope["type"] != "http":
                raise
            number = token_hex(4)
            logger.exception("error %s in %s %s", number, scope["method"], scope["path"][:200])
            if started:
                raise
            await refuse(
                send, 500, f"server: a fault of its own. Its log says more under the error id {number}"
            )
