"""What the protection of the server costs a request: host, origin, log-in, limits, headers, audit trail, counting.

    python benchmarks/door.py

The application inside answers at once, so that the time is that of the layers around it; without and with them, in
turns, in one process and without a network. Passwords and predictions are not part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message

from diffcl.access.audit import AuditTrail
from diffcl.access.roles import Role
from diffcl.access.tokens import LocalUsers
from diffcl.access.users import UserFile
from diffcl.web.application import protected
from diffcl.web.metrics import Metrics

WORD = "correct horse battery"


async def milliseconds(application: ASGIApp, headers: list[tuple[bytes, bytes]]) -> float:
    """How long one request that changes something takes."""
    scope: dict[str, Any] = {
        "type": "http", "method": "PUT", "path": "/datastore/label", "query_string": b"image=p07&tag=final",
        "headers": headers, "scheme": "http", "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 9), "root_path": "",
    }  # fmt: skip
    status: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    began = time.perf_counter()
    await application(scope, receive, send)
    taken = 1000 * (time.perf_counter() - began)
    if status != [200]:
        raise RuntimeError(f"answered {status}")
    return taken


async def measure(count: int) -> dict[str, float]:
    """Medians and the slowest hundredth, in milliseconds."""
    plain = PlainTextResponse("in")
    with tempfile.TemporaryDirectory() as folder:
        file = UserFile(Path(folder) / "users.json")
        file.add("ann", Role.ANNOTATOR, WORD)
        users = LocalUsers(file)
        token = users.log_in("ann", WORD)
        headers = [(b"host", b"127.0.0.1:8000"), (b"authorization", f"Bearer {token}".encode())]
        door = protected(
            plain, Metrics(("datastore",)), users=users, audit=AuditTrail(Path(folder) / "audit")
        )
        for application in (plain, door):
            await milliseconds(application, headers)
        pairs = [
            (await milliseconds(plain, headers), await milliseconds(door, headers)) for _ in range(count)
        ]
    costs = sorted(behind - alone for alone, behind in pairs)
    return {
        "requests": count,
        "median_ms": round(statistics.median(costs), 3),
        "slowest_hundredth_ms": round(costs[len(costs) * 99 // 100], 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    print(json.dumps(asyncio.run(measure(parser.parse_args().requests))))


if __name__ == "__main__":
    main()
