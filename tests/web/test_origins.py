"""Raw requests, as browsers and programs send them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from diffcl.web.origins import SameOrigin

HERE = "127.0.0.1:8000"
PAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def status(method: str, path: str = "/info/", host: str = HERE, **headers: str) -> int:
    """What a request is answered."""
    app: Any = SameOrigin(
        PlainTextResponse("in"), ["server.example"], ["https://viewer.example:3000"], ["/ohif/"]
    )

    async def ask() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:8000") as client:
            given = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
            return (await client.request(method, path, headers=given)).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (HERE, 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST:1", 200),
        ("server.example.", 200),
        ("10.0.0.7:8000", 200),
        ("10.0.0.8:8000", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("localhost:no", 421),
        ("", 421),
    ],
)
def test_only_its_own_names_are_asked_for(host: str, expected: int) -> None:
    assert status("GET", host=host) == expected


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:3000",
        "http://localhost:8000",
        "file://",
        "https://[x",
    ],
)
def test_a_foreign_page_neither_reads_nor_changes(method: str, origin: str) -> None:
    assert status(method, origin=origin) == 403


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_its_own_pages_programs_and_named_pages_may(method: str) -> None:
    assert status(method) == 200
    assert status(method, origin=f"http://{HERE}", sec_fetch_site="same-origin") == 200
    assert status(method, origin="https://viewer.example:3000", sec_fetch_site="cross-site") == 200
    assert status(method, sec_fetch_site="none") == 200


def test_what_a_page_embeds_is_foreign_but_a_link_to_a_page_is_followed() -> None:
    assert status("GET", "/datastore/image?image=a", **PAGE) == 403
    assert status("GET", "/ohif/", **PAGE) == 403
    assert status("GET", "/ohif/", **LINK) == status("GET", "/", **LINK) == 200
    assert status("GET", "/datastore/image?image=a", **LINK) == 403
    assert status("POST", "/ohif/", **LINK) == 403


def test_an_old_browser_gives_itself_away_by_its_referer() -> None:
    assert status("POST", referer="http://evil.example/page") == 403
    assert status("POST", referer=f"http://{HERE}/ohif/") == 200
