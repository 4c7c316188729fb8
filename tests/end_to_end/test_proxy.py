"""The real server below a prefix, behind a real proxy: every address that a page names works there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from browser import headless
from orthanc import Orthanc
from proxy import certificate, proxied
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from synthetic import make_scan

from diffcl.access.roles import Role
from diffcl.access.users import UserFile
from diffcl.io.dicom.series_write import write_series

PREFIX = "/diffcl"

WORD = "correct horse battery"

PAGE = {"accept": "text/html"}


SECONDS = 180
"""Far more than a page takes, for machines that do other things as well."""


@pytest.fixture
def asked() -> list[str]:
    """Every path that the proxy is asked for."""
    return []


@pytest.fixture
def shown(
    start_server: Any, archive: Orthanc, tmp_path: Path, asked: list[str]
) -> Iterator[tuple[str, Path]]:
    """The address of a server with an archive and a user behind a proxy, and the proxy's certificate."""
    archive.add(write_series(make_scan("oblique"), tmp_path / "series", name="patient-1"))
    UserFile(tmp_path / "users.json").add("ann", Role.ADMIN, WORD)
    given = ("--users", str(tmp_path / "users.json"), "--behind-proxy", "--root-path", PREFIX)
    running = start_server(tmp_path / "served", "--studies", archive.url, *given)
    cert, key = certificate(tmp_path)
    with proxied(running.url, PREFIX, cert, key, asked) as url:
        yield url, cert


def addresses(page: requests.Response) -> tuple[set[str], set[str]]:
    """What a page loads or links to, and where its forms go; other sites and parts of the page do not count."""
    found: tuple[set[str], set[str]] = set(), set()
    for name, value in re.findall(r"""\b(href|src|action)=["']?([^"'\s>]+)""", page.text):
        if not value.startswith(("#", "data:")):
            found[name == "action"].add(urljoin(page.url, value.replace("&amp;", "&")).partition("#")[0])
    return found


def test_every_address_of_every_page_works_below_the_prefix(shown: tuple[str, Path]) -> None:
    url, cert = shown
    with requests.Session() as asking:
        walk(asking, url, cert)


def walk(asking: requests.Session, url: str, cert: Path) -> None:
    """Log in, follow every address of every page, and log out."""
    asking.verify, asking.trust_env = str(cert), False  # a bundle of the environment would count more
    assert asking.get(f"{url}/info/").status_code == 401
    entry = asking.get(f"{url}/", headers=PAGE)
    assert urlsplit(entry.url).path == f"{PREFIX}/auth/login"
    origin = {"origin": url.removesuffix(PREFIX)}
    form = {"username": "ann", "password": WORD, "next": "/"}
    entered = asking.post(entry.url, data=form, headers=origin)
    assert (entered.status_code, urlsplit(entered.url).path) == (200, f"{PREFIX}/")
    assert asking.get(f"{url}/auth/token/valid").json()["username"] == "ann"

    waiting, known, forms = [f"{url}/", f"{url}/docs", f"{url}/ohif/"], set[str](), set[str]()
    while waiting:
        address = waiting.pop()
        if address in known:
            continue
        known.add(address)
        answer = asking.get(address, headers=PAGE)
        assert answer.status_code == 200, address
        if answer.headers["content-type"].startswith("text/html"):
            links, own = addresses(answer)
            waiting += links
            forms |= own
    paths = {urlsplit(one).path for one in known}
    assert all(one.startswith(f"{url}/") for one in known | forms)
    for page in ("study/scans", "study/scan", "study/quality", "study/training", "study/versions", "study/report",
                 "study/page.js", "study/style.css", "ohif/app-config.js"):  # fmt: skip
        assert f"{PREFIX}/{page}" in paths
    assert urlsplit(url).path + "/study/training" in {urlsplit(one).path for one in forms}

    settings = asking.get(f"{url}/ohif/app-config.js").text
    root = re.findall(r"qidoRoot: '([^']+)'", settings)
    assert root == [f"{PREFIX}/proxy/dicom/qido"]
    studies = asking.get(urljoin(url, f"{root[0]}/studies"), headers={"accept": "application/dicom+json"})
    assert len(studies.json()) == 1
    out = asking.post(f"{url}/auth/logout", headers=origin)
    assert urlsplit(out.url).path == f"{PREFIX}/auth/login"
    assert asking.get(f"{url}/info/").status_code == 401


def test_a_browser_asks_for_nothing_outside_the_prefix(
    shown: tuple[str, Path], asked: list[str], tmp_path: Path
) -> None:
    url, _ = shown
    with headless(tmp_path / "profile") as browser:

        def shows(text: str) -> None:
            wait = WebDriverWait(browser, SECONDS, 0.2, ignored_exceptions=[WebDriverException])
            wait.until(lambda _: text in browser.find_element(By.TAG_NAME, "body").text)

        browser.get(f"{url}/ohif/")
        for name, word in (("username", "ann"), ("password", WORD)):
            browser.find_element(By.NAME, name).send_keys(word)
        browser.find_element(By.NAME, "password").submit()
        shows("patient-1")  # the viewer lists what is in the archive
        browser.get(f"{url}/docs")
        shows("/datastore/")
    outside = {path for path in asked if not path.startswith(f"{PREFIX}/")}
    assert outside <= {"/favicon.ico"}  # for which browsers ask by themselves
    for path in ("ohif/app-config.js", "ohif/app.bundle.css", "proxy/dicom/qido/studies"):
        assert f"{PREFIX}/{path}" in asked
