"""The real server with https, users and a prefix, over a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from proxy import certificate
from running_server import Server, start, stop

from diffcl.access.roles import Role
from diffcl.access.users import UserFile

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

WORD = "correct horse battery"

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server with one user, and its certificate."""
    folder = tmp_path_factory.mktemp("tls server")
    cert, key = certificate(folder)
    UserFile(folder / "users.json").add("ann", Role.ADMIN, WORD)
    extra = ["--tls-cert", str(cert), "--tls-key", str(key), "--users", str(folder / "users.json")]
    server = start(folder, *extra, "--root-path", "/diffcl", certificate=cert)
    yield server, cert
    stop(server)


@pytest.fixture
def ask(running: tuple[Server, Path]) -> Ask:
    """Sends one request as a proxy does that has taken the prefix away."""
    server, cert = running

    def send(method: str, path: str, **given: object) -> requests.Response:
        options = {"verify": str(cert), "allow_redirects": False, "timeout": 60, **given}
        return requests.request(method, f"{server.url}{path}", **options)  # type: ignore[arg-type]

    return send


def test_nothing_is_answered_without_https(running: tuple[Server, Path]) -> None:
    server, _ = running
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url.replace('https', 'http')}/health", timeout=60)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{server.url}/health", timeout=60)  # whose certificate nobody vouches for


def test_a_program_logs_in_and_asks(ask: Ask) -> None:
    health = ask("GET", "/health")
    assert health.headers["strict-transport-security"] == "max-age=31536000"
    assert ask("GET", "/info/").status_code == 401
    token = ask("POST", "/auth/token", data={"username": "ann", "password": WORD}).json()["access_token"]
    told = ask("GET", "/info/", headers={"Authorization": f"Bearer {token}"})
    assert told.json()["name"] == "diffcl"


def test_a_browser_logs_in_and_gets_ohif_below_the_prefix(ask: Ask, running: tuple[Server, Path]) -> None:
    server, _ = running
    page = {"accept": "text/html"}
    sent = ask("GET", "/ohif/", headers=page)
    assert (sent.status_code, sent.headers["location"]) == (303, "/diffcl/auth/login?next=%2Fohif%2F")
    form = {"username": "ann", "password": WORD, "next": "/ohif/"}
    entered = ask("POST", "/auth/login", data=form, headers={"origin": server.url})
    assert (entered.status_code, entered.headers["location"]) == (303, "/diffcl/ohif/")
    cookie = entered.headers["set-cookie"]
    for word in ("Secure", "HttpOnly", "SameSite=strict", "Path=/diffcl"):
        assert word in cookie
    held = {"cookie": cookie.partition(";")[0]}
    viewer = ask("GET", "/ohif/", headers={**page, **held})
    assert viewer.status_code == 200
    assert '"/diffcl/ohif/app-config.js"' in viewer.text
    settings = ask("GET", "/ohif/app-config.js", headers=held)
    assert "qidoRoot: '/diffcl/proxy/dicom/qido'" in settings.text
    assert "Path=/diffcl/ohif/" in viewer.headers["set-cookie"]
    out = ask("POST", "/auth/logout", headers={**held, "origin": server.url})
    assert (out.status_code, out.headers["location"]) == (303, "/diffcl/auth/login")
