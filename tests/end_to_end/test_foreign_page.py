"""A page of another site, in a real browser on the machine of an annotator who has logged in."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from typing import Any

import pytest
import requests
import SimpleITK as sitk
from browser import headless
from running_server import Server, assert_log_is_clean, start, stop
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from synthetic import SCANS, make_label

from diffcl.access.roles import Role
from diffcl.access.users import UserFile

WORD = "correct horse battery"

PAGES = (
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/study/scan?image=oblique"),
    ("GET", "/study/page.js"),
    ("GET", "/study/style.css"),
    ("GET", "/study/icon.svg"),
    ("GET", "/study/picture.png?image=oblique"),
    ("GET", "/ohif/assets/favicon.ico"),
    ("GET", "/ohif/app-config.js"),
    ("GET", "/proxy/dicom/qido/studies"),
    ("POST", "/study/training"),
    ("POST", "/study/versions/use"),
    ("POST", "/auth/login"),
    ("POST", "/auth/logout"),
)
"""What the description of the API does not name."""

SECONDS = 120


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server at which one has to log in, with a label and an administrator."""
    folder = tmp_path_factory.mktemp("foreign")
    UserFile(folder / "users.json").add("ann", Role.ADMIN, WORD)
    running = start(folder, "--users", str(folder / "users.json"))
    yield running
    stop(running)
    assert_log_is_clean(running)


@pytest.fixture(scope="module")
def program(server: Server, tmp_path_factory: pytest.TempPathFactory) -> requests.Session:
    """A program that has logged in, and has submitted a label."""
    asking = requests.Session()
    form = {"username": "ann", "password": WORD}
    token = asking.post(f"{server.url}/auth/token", data=form, timeout=60).json()["access_token"]
    asking.headers["Authorization"] = f"Bearer {token}"
    file = tmp_path_factory.mktemp("label") / "label.nii.gz"
    sitk.WriteImage(make_label("oblique"), file)
    with file.open("rb") as label:
        sent = asking.put(f"{server.url}/datastore/label?image=oblique", files={"label": label}, timeout=60)
    assert sent.status_code == 200
    return asking


@pytest.fixture
def browser(tmp_path: Path, server: Server) -> Iterator[webdriver.Chrome]:
    """A browser in which an administrator has logged in, and for which `rebound.example` is this machine."""
    with headless(tmp_path / "profile", names=("rebound.example",)) as running:
        running.get(f"{server.url}/")
        running.find_element(By.NAME, "username").send_keys("ann")
        running.find_element(By.NAME, "password").send_keys(WORD)
        running.find_element(By.TAG_NAME, "button").click()
        wait(running, "return document.querySelector('form[action$=\"/auth/logout\"]') !== null")
        yield running


@pytest.fixture
def page(server: Server, program: requests.Session, tmp_path: Path) -> Iterator[int]:
    """The port of a server whose page tries every operation in every way."""
    schema = program.get(f"{server.url}/openapi.json", timeout=60).json()
    asks = [
        (
            method.upper(),
            re.sub(r"{\w+}", "organ", path) + "?image=oblique&id=oblique&label=oblique&tag=final",
        )
        for path, methods in schema["paths"].items()
        for method in methods
    ]
    assert len(asks) > 40
    text = Template(Path(__file__).parents[1].joinpath("support", "foreign_page.html").read_text())
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text(
        text.safe_substitute(server=server.url, asks=json.dumps([*asks, *PAGES]))
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield site.server_port
        site.shutdown()
        thread.join()


def wait(running: webdriver.Chrome, script: str) -> Any:
    return WebDriverWait(running, SECONDS, 0.1).until(lambda _: running.execute_script(script))


def answered(server: Server, program: requests.Session) -> dict[str, int]:
    """How many requests were answered with each status before this one."""
    told = program.get(f"{server.url}/metrics", timeout=60).text
    found: dict[str, int] = {}
    for status, number in re.findall(
        r'^diffcl_requests_total\{.*status="(\d+)"\} (\d+)$', told, re.MULTILINE
    ):
        found[status] = found.get(status, 0) + int(number)
    return found


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"], ids=["same site", "cross site"])
def test_a_foreign_page_neither_changes_nor_reads_anything(
    name: str, server: Server, program: requests.Session, browser: webdriver.Chrome, page: int
) -> None:
    browser.get("about:blank")  # for the server's own page asks again and again
    trail = server.studies.parent / "my work" / "audit" / "audit.jsonl"
    before, written = answered(server, program), trail.read_bytes()
    browser.get(f"http://{name}:{page}/")
    found = wait(browser, "return window.found")
    grown = {status: number - before.get(status, 0) for status, number in answered(server, program).items()}
    assert [one for one in found if one[2] == "read"] == []
    assert {status for status, number in grown.items() if number} <= {"200", "403"}
    assert grown["200"] == 1  # the program's own question how many there were before
    assert grown["403"] > 500
    assert len(found) > 500
    assert trail.read_bytes() == written
    state = program.get(f"{server.url}/datastore/?output=all", timeout=60).json()["objects"]
    assert set(state) == set(SCANS)
    assert state["oblique"]["labels"]["final"]["info"]["version"] == 1


def test_a_name_that_leads_to_this_machine_opens_nothing(server: Server, browser: webdriver.Chrome) -> None:
    for path in ("/", "/info/", "/datastore/image?image=oblique"):
        browser.get(f"{server.url.replace('127.0.0.1', 'rebound.example')}{path}")
        assert "not a name of this server" in browser.find_element(By.TAG_NAME, "body").text


def test_a_page_that_opens_another_window_does_not_see_what_is_in_it(
    server: Server, browser: webdriver.Chrome, page: int
) -> None:
    browser.get(f"http://127.0.0.1:{page}/#inside")
    browser.execute_script("window.other = window.open(arguments[0])", f"{server.url}/")
    handles = WebDriverWait(browser, SECONDS).until(
        lambda one: len(one.window_handles) == 2 and one.window_handles
    )
    browser.switch_to.window(handles[1])
    wait(browser, "return document.querySelector('main') !== null")  # a link to this page may be followed
    browser.switch_to.window(handles[0])
    assert browser.execute_script(
        "try { return Boolean(window.other.document) } catch { return false }"
    ) is False  # fmt: skip
