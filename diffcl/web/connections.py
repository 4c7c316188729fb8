"""Bounds of the open connections of a server: how many, and for how long without a request."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS: Final = 512
"""Connections; a viewer uses six, and each takes a file of the process."""

FIRST_SECONDS: Final = 20.0
"""How long a new connection may take to send the head of its first request."""


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, in which silent connections make room for others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are `MOST_CONNECTIONS` already, the oldest one that waits for nothing goes."""
        self.since = self.loop.time()
        others: list[Any] = [
            one
            for one in self.connections
            if isinstance(one, BoundedProtocol) and not one.transport.is_closing()
        ]  # of many that come at once, each makes another one go
        super().connection_made(transport)
        if len(others) >= MOST_CONNECTIONS:
            idle = min((one for one in others if one.is_idle()), key=lambda one: one.since, default=self)
            idle.transport.close()
        self._first = self.loop.call_later(FIRST_SECONDS, self._close_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._first.cancel()
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _close_silent(self) -> None:
        cycle: Any = self.cycle
        if cycle is None:
            self.transport.close()
