"""MONAI Label's own server with the app: what of the protection holds there."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils import app as instances

from diffcl.resources import app_folder
from diffcl.web.children import SERVER

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # monailabel uses deprecated modules
    from monailabel import app as stock

EVIL = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}

Ask = Callable[..., httpx.Response]


@pytest.fixture
def server(app: Any, studies: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MONAI Label's own application as it runs before the app is made, around this app."""
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(app_folder()))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    monkeypatch.setitem(instances.apps, f"{app_folder()}{studies}", app)
    monkeypatch.setattr(stock.app, "middleware_stack", stock.app.build_middleware_stack())
    monkeypatch.setattr(MONAILabelApp, "on_init_complete", lambda _: None)
    monkeypatch.setattr(app._models, "warm_up", lambda: None)  # noqa: SLF001
    monkeypatch.setattr(app._scorer, "start", lambda: None)  # noqa: SLF001
    monkeypatch.setenv(SERVER, "")
    return stock.app


@pytest.fixture
def ask(server: Any, app: Any) -> Ask:
    """Sends one request to it once the app is made."""
    app.on_init_complete()

    def send(method: str, path: str, **given: Any) -> httpx.Response:
        async def talk() -> httpx.Response:
            transport = httpx.ASGITransport(server, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **given)

        return asyncio.run(talk())

    return send


def test_programs_and_its_own_pages_use_it_as_always(ask: Ask) -> None:
    for headers in ({}, {"origin": "http://localhost"}, {"host": socket.gethostname()}):
        assert ask("GET", "/info/", headers=headers).json()["name"] == "diffcl"
    answer = ask("POST", "/infer/organ", params={"image": "oblique", "output": "json"})
    assert answer.json()["version"] == 1, answer.text
    assert ask("POST", "/activelearning/first", json={}).json()["id"] == "anisotropic"
    assert "content-security-policy" not in ask("GET", "/ohif/").headers


def test_a_session_is_kept_there_too(ask: Ask, studies: Path) -> None:
    scan = (studies / "oblique.nii.gz").read_bytes()
    name = ask("PUT", "/session/", files={"files": ("mine.nii.gz", scan)}).json()["session_id"]
    asked = {"session_id": name, "output": "json"}
    assert ask("POST", "/infer/organ", params=asked).json()["version"] == 1
    assert ask("DELETE", f"/session/{name}").status_code == 200
    assert ask("GET", f"/session/{name}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/info/"), ("POST", "/train/"), ("DELETE", "/datastore/?id=oblique"), ("POST", "/reload")],
)
def test_foreign_pages_and_hosts_are_refused(method: str, path: str, ask: Ask) -> None:
    assert ask(method, path, headers=EVIL).status_code == 403
    answer = ask(method, path, headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert "--conf allow_host NAME" in answer.json()["detail"]


def test_what_is_too_large_is_refused(ask: Ask) -> None:
    assert ask("POST", "/train/organ", json={"a": "b" * 200_000}).status_code == 413
    assert ask("GET", "/info/", headers={"x": "y" * 40_000}).status_code == 431


@pytest.mark.usefixtures("server")
def test_a_name_and_a_size_that_are_set_count(app: Any, request: pytest.FixtureRequest) -> None:
    app.conf.update(allow_host="seg.example", max_upload="1000")
    ask: Ask = request.getfixturevalue("ask")
    assert ask("GET", "/info/", headers={"host": "seg.example"}).status_code == 200
    assert ask("PUT", "/session/", files={"files": ("a.nii", b"x" * 2000)}).status_code == 413


@pytest.mark.usefixtures("server")
def test_users_are_not_left_to_believe_that_somebody_asks_them(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("os._exit", leave)
    app.conf["users"] = "users.json"
    with pytest.raises(SystemExit, match="2"):
        app.on_init_complete()
    assert "Start diffcl serve --users FILE" in caplog.text
