from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from diffcl.web import limits
from diffcl.web.limits import TEXT, Limits

FILES = {"content-type": "multipart/form-data; boundary=x"}
UPLOAD = "/session/"


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers how much came."""
    count = 0
    async for piece in Request(scope, receive).stream():
        count += len(piece)
    await PlainTextResponse(str(count))(scope, receive, send)


def answer(
    content: bytes | list[bytes], headers: dict[str, str] | None = None, path: str = "/", pause: float = 0.0
) -> Any:
    """The answer to a body, which comes in pieces without a length if it is a list, with a pause after each."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in content:
            assert isinstance(piece, bytes)
            yield piece
            await asyncio.sleep(pause)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Limits(reads_all, upload=100_000), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            sent = content if isinstance(content, bytes) else pieces()
            return await client.post(path, content=sent, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize("cut", [False, True], ids=["with a length", "in pieces"])
def test_what_is_within_the_limits_arrives_and_what_is_beyond_is_413(cut: bool) -> None:
    def body(size: int) -> bytes | list[bytes]:
        return [b"a" * 1000] * (size // 1000) if cut else b"a" * size

    assert answer(body(TEXT)).text == str(TEXT)
    assert answer(body(TEXT + 1000)).status_code == 413
    assert answer(body(100_000), FILES, UPLOAD).text == "100000"
    refused = answer(body(101_000), FILES, UPLOAD)
    assert refused.status_code == 413
    assert "Send less" in refused.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["/infer/organ", "/datastore/", "/datastore/image", "/datastore/label", "/session", "/model/organ"],
)
def test_files_may_be_sent_to_paths_that_take_files(path: str) -> None:
    assert answer(b"a" * 90_000, FILES, path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/auth/token",
        "/auth/login",
        "/train/organ",
        "/activelearning/random",
        "/study/training",
        "/infer/a/b",
        "/",
    ],
)
def test_what_is_held_in_memory_is_no_larger_for_being_called_a_form_with_files(path: str) -> None:
    """Among them those that anybody may ask who has not logged in."""
    assert answer(b"a" * TEXT, FILES, path).status_code == 200
    assert answer(b"a" * 90_000, FILES, path).status_code == 413
    assert answer([b"a" * 1000] * 90, FILES, path).status_code == 413


def test_a_body_that_does_not_come_is_408_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 0.1)
    refused = answer([b"a" * 10, b""], pause=30.0)
    assert refused.status_code == 408
    assert refused.json() == {"detail": "request: comes too slowly. Send it again"}


def test_a_body_that_comes_slowly_but_comes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more has come, the longer it is waited for."""
    monkeypatch.setattr(limits, "PATIENCE", 5.0)
    monkeypatch.setattr(limits, "SLOWEST", 1.0)
    assert answer([b"a" * 10] * 5, pause=0.01).text == "50"


def test_a_full_disk_is_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "free_bytes", lambda: limits.RESERVE + 50_000)
    assert answer(b"a" * 60_000, FILES, UPLOAD).status_code == 507
    assert answer(b"a" * 45_000, FILES, UPLOAD).status_code == 200


def test_the_disk_is_watched_while_it_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOOK_AGAIN", 10_000)
    monkeypatch.setattr(limits, "free_bytes", lambda: limits.RESERVE - 1)
    assert answer([b"a" * 1000] * 60, FILES, UPLOAD).status_code == 507


@pytest.mark.parametrize("path", ["/a%00b", "/a?image=%00"])
def test_zero_bytes_in_an_address_are_refused(path: str) -> None:
    assert answer(b"", path=path).status_code == 400


def test_headers_are_bounded_together() -> None:
    assert answer(b"", {f"x-{number}": "a" * 1000 for number in range(20)}).status_code == 200
    assert answer(b"", {f"x-{number}": "a" * 1000 for number in range(40)}).status_code == 431
