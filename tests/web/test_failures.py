from __future__ import annotations

import asyncio
import logging
import re

import httpx
import pytest

from diffcl.web.failures import Failures
from diffcl.web.headers import HEADERS, SecurityHeaders


async def broken(*_: object) -> None:
    """An application with a fault."""
    raise KeyError("/home/ann/secret")


def test_a_fault_is_an_id_whose_traceback_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(SecurityHeaders(Failures(broken)))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.get("/info/")

    with caplog.at_level(logging.ERROR):
        answer = asyncio.run(ask())
    assert answer.status_code == 500
    found = re.search(r"error id ([0-9a-f]{8})", answer.json()["detail"])
    assert found
    assert "secret" not in answer.text
    [record] = caplog.records
    assert found[1] in record.getMessage()
    assert record.exc_info
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
