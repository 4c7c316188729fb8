"""Short answers of the layers around the application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from starlette.types import Scope, Send

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""


async def refuse(send: Send, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
    """Answer with a status and one sentence, as `{"detail": ...}`."""
    content = json.dumps({"detail": detail}).encode()
    extra = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    plain = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*plain, *extra]})
    await send({"type": "http.response.body", "body": content})


def header(scope: Scope, name: str) -> str | None:
    """A header of a request, the first of that name; None where there is none."""
    wanted = name.lower().encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


def route_path(scope: Scope) -> str:
    """The path of a request below the prefix at which a proxy shows the server."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
