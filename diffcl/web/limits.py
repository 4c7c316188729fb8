"""How much a request may send, before any of it is looked at."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffcl.web.answers import header, refuse, route_path

UPLOAD: Final = 4 << 30
"""Bytes of the largest request with files, unless said otherwise."""

TEXT: Final = 40_000
"""Bytes of the largest request without files. Settings of a training travel as one argument of a command, which
Linux bounds at 131,072 bytes, and a character may take three times its bytes there."""

TAKE_FILES: Final = re.compile(r"/(infer/[^/]+|session|model/[^/]+|datastore(/image|/label)?)/?")
"""Paths to which files are sent. They are written to the disk as they come; other bodies are held in memory."""

LONGEST_HEAD: Final = 1 << 15
"""Bytes of all headers of a request."""

PATIENCE: Final = 60.0
"""Seconds for which a body may be waited for, and more the more has come."""

SLOWEST: Final = 5_000.0
"""Bytes a second; the slowest line over which scans are sent has ten times as many."""

RESERVE: Final = 256 << 20
"""Bytes that stay free on the disk of the temporary files."""

LOOK_AGAIN: Final = 32 << 20
"""Free space is looked at again after so many bytes."""


class Limits:
    """An application that gets no request beyond its limits.

    Args:
        app: The application.
        upload: Bytes of the largest request with files.
    """

    def __init__(self, app: ASGIApp, upload: int = UPLOAD) -> None:
        self._app = app
        self._upload = upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 for zero bytes in the address, 408, 413, 431 or 507 for a body that is too slow, or too much."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            await refuse(send, 400, "address: holds a zero byte")
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LONGEST_HEAD:
            await refuse(send, 431, f"request: headers of more than {LONGEST_HEAD} bytes")
            return
        form = (header(scope, "content-type") or "").lower().startswith("multipart/")
        files = form and TAKE_FILES.fullmatch(route_path(scope)) is not None
        body = _Body(receive, send, self._upload if files else TEXT)
        said = header(scope, "content-length") or ""
        body.look(int(said) if said.isdecimal() and len(said) < 20 else 0)
        if body.refusal is None:
            try:
                await self._app(scope, body.receive, body.send)
            except Exception:
                if body.refusal is None:
                    raise
        await body.answer()


class _Body:
    """The body of one request, counted and timed while it comes; what is answered beyond a limit is the limit.

    Attributes:
        refusal: Status and sentence, once it is too much or too slow.
    """

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self.refusal: tuple[int, str] | None = None
        self._receive, self._send, self._limit = receive, send, limit
        self._count, self._looked, self._answered = 0, 0, False
        self._waited, self._whole = 0.0, False

    def look(self, size: int) -> None:
        """Refuse a body of at least so many bytes that is larger than its limit, or than the space that is left."""
        missing = size - self._count
        if size > self._limit:
            self.refusal = 413, f"request: larger than {self._limit} bytes. Send less at once"
        elif size > TEXT and free_bytes() < RESERVE + missing:
            self.refusal = 507, "server: no space left for what is sent. Tell who runs it"

    async def receive(self) -> Message:
        """The next piece; once it is too much or too slow, as if the client had gone."""
        message = await (self._receive() if self._whole else self._next())
        if message["type"] == "http.request":
            self._whole = not message.get("more_body", False)
            self._count += len(message.get("body", b""))
            if self._count > self._limit or self._count - self._looked >= LOOK_AGAIN:
                self._looked = self._count
                self.look(self._count)
        return {"type": "http.disconnect"} if self.refusal else message

    async def _next(self) -> Message:
        """The next piece, unless it has been waited for long enough; what a handler takes does not count."""
        began = time.monotonic()
        try:
            allowed = PATIENCE + self._count / SLOWEST
            return await asyncio.wait_for(self._receive(), max(0.0, allowed - self._waited))
        except asyncio.TimeoutError:  # another than that of Python before 3.11
            self.refusal = 408, "request: comes too slowly. Send it again"
            return {"type": "http.disconnect"}
        finally:
            self._waited += time.monotonic() - began

    async def send(self, message: Message) -> None:
        """Hand on the answer, unless the limit's takes its place."""
        if self.refusal is None or self._answered:
            self._answered = True
            await self._send(message)

    async def answer(self) -> None:
        """Say why not, if there is a reason and nothing was answered."""
        if self.refusal and not self._answered:
            self._answered = True
            await refuse(self._send, *self.refusal, {"Connection": "close"})


def free_bytes() -> int:
    """Bytes that are free where temporary files go."""
    return shutil.disk_usage(tempfile.gettempdir()).free
