"""How much a request may send, before any of it is looked at."""

from __future__ import annotations

import shutil
import tempfile
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffcl.web.answers import header, refuse

UPLOAD: Final = 4 << 30
"""Bytes of the largest request with files, unless said otherwise."""

TEXT: Final = 40_000
"""Bytes of the largest request without files. Settings of a training travel as one argument of a command, which
Linux bounds at 131,072 bytes, and a character may take three times its bytes there."""

LONGEST_HEAD: Final = 1 << 15
"""Bytes of all headers of a request."""

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
        """Answer 400 for zero bytes in the address, 413 or 431 for too much, 507 where there is no space for it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            await refuse(send, 400, "address: holds a zero byte")
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LONGEST_HEAD:
            await refuse(send, 431, f"request: headers of more than {LONGEST_HEAD} bytes")
            return
        files = (header(scope, "content-type") or "").lower().startswith("multipart/")
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
    """The body of one request, counted while it comes; what is answered beyond a limit is the limit.

    Attributes:
        refusal: Status and sentence, once it is too much.
    """

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self.refusal: tuple[int, str] | None = None
        self._receive, self._send, self._limit = receive, send, limit
        self._count, self._looked, self._answered = 0, 0, False

    def look(self, size: int) -> None:
        """Refuse a body of at least so many bytes that is larger than its limit, or than the space that is left."""
        missing = size - self._count
        if size > self._limit:
            self.refusal = 413, f"request: larger than {self._limit} bytes. Send less at once"
        elif size > TEXT and free_bytes() < RESERVE + missing:
            self.refusal = 507, "server: no space left for what is sent. Tell who runs it"

    async def receive(self) -> Message:
        """The next piece; once it is too much, as if the client had gone."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._limit or self._count - self._looked >= LOOK_AGAIN:
                self._looked = self._count
                self.look(self._count)
        return {"type": "http.disconnect"} if self.refusal else message

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
