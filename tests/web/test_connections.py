"""Connections to a real server on the loopback interface."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from diffcl.web import connections
from diffcl.web.connections import BoundedProtocol
from diffcl.web.limits import LONGEST_HEAD

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n"


def with_server(talk: Callable[[int], Awaitable[Any]]) -> Any:
    """What a conversation with a server on a port gives."""

    async def main() -> Any:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            config = uvicorn.Config(
                PlainTextResponse("in"), http=BoundedProtocol, ws="none", log_config=None, lifespan="off",
                h11_max_incomplete_event_size=LONGEST_HEAD,
            )  # fmt: skip
            server = uvicorn.Server(config)
            running = asyncio.create_task(server.serve([listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                return await asyncio.wait_for(talk(listening.getsockname()[1]), 30)
            finally:
                server.should_exit = True
                await running

    return asyncio.run(main())


async def asked(port: int, head: bytes = b"") -> bytes:
    """The status line of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST % head)
    line = await reader.readline()
    writer.close()
    return line.strip()


def test_silent_connections_make_room_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)

    async def talk(port: int) -> tuple[bytes, int]:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        line = await asked(port)
        await asyncio.sleep(0.1)
        left = sum(not reader.at_eof() for reader, _ in silent)
        for _, writer in silent:
            writer.close()
        return line, left

    line, left = with_server(talk)
    assert line == b"HTTP/1.1 200 OK"
    assert left <= 20


def test_of_many_that_come_at_once_no_more_stay_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)

    async def talk(port: int) -> tuple[bytes, int]:
        silent = [socket.socket() for _ in range(60)]
        for one in silent:  # without giving the server, in the same loop, a moment in between
            one.connect(("127.0.0.1", port))
        line = await asked(port)
        await asyncio.sleep(0.1)
        left = 0
        for one in silent:
            one.setblocking(False)
            try:
                one.recv(1)
            except BlockingIOError:
                left += 1
            one.close()
        return line, left

    line, left = with_server(talk)
    assert line == b"HTTP/1.1 200 OK"
    assert left <= 20


def test_who_says_nothing_goes_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FIRST_SECONDS", 0.2)

    async def talk(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        found = await reader.read()
        writer.close()
        return found

    assert with_server(talk) == b""


def test_a_head_without_end_is_refused() -> None:
    async def talk(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(11):
            writer.write(b"a" * (LONGEST_HEAD // 10))
            await asyncio.sleep(0.01)
        line = await reader.readline()
        writer.close()
        return [await asked(port), line.strip()]

    assert with_server(talk) == [b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request"]
