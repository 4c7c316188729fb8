from __future__ import annotations

import io
import warnings
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from fastapi import FastAPI

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # monailabel uses deprecated modules, starlette prefers another httpx
    from fastapi.testclient import TestClient

    from lib import viewer


class Datastore:
    """Takes down what is passed on."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def pass_on(self, *asked: Any) -> requests.Response:
        self.asked.append(asked)
        answer = requests.Response()
        answer.status_code, answer.raw = 206, io.BytesIO(b"content")
        answer.headers.update({"content-type": "application/dicom+json", "x-secret": "word"})
        return answer


@pytest.fixture
def datastore(monkeypatch: pytest.MonkeyPatch) -> Datastore:
    found = Datastore()
    app = type("App", (), {"datastore": lambda self: found})()
    monkeypatch.setattr(viewer, "app_instance", lambda: app)
    return found


@pytest.fixture
def client() -> TestClient:
    application = FastAPI()
    application.include_router(viewer.router)
    return TestClient(application)


def test_every_file_of_the_viewer_is_served_as_it_is(client: TestClient) -> None:
    files = [file for file in viewer.OHIF.rglob("*.*") if file.parent != viewer.OHIF]
    for file in (viewer.OHIF / "manifest.json", files[0]):
        assert client.get(f"/ohif/{file.relative_to(viewer.OHIF)}").content == file.read_bytes()


def test_its_settings_end_with_what_it_lacks(client: TestClient) -> None:
    answer = client.get("/ohif/app-config.js")
    assert answer.text.startswith((viewer.OHIF / "app-config.js").read_text())
    assert answer.text.endswith(viewer.ADDED.read_text())
    assert answer.headers["cache-control"] == "no-cache"  # or an update would reach nobody


@pytest.mark.parametrize("path", ["", "app.bundle.css"])
def test_it_asks_no_other_house_for_its_letters(client: TestClient, path: str) -> None:
    original = (viewer.OHIF / (path or "index.html")).read_text()
    served = client.get(f"/ohif/{path}").text
    assert ("fonts.g" in original, "fonts.g" in served) == (True, False)
    assert 0 < len(original) - len(served) < 400


@pytest.mark.parametrize(
    "path", ["", "viewer?StudyInstanceUIDs=1", "monai-label/dicomweb", "%2e%2e/%2e%2e/ohif.py"]
)
def test_any_other_address_is_the_start_page(client: TestClient, path: str) -> None:
    page = client.get(f"/ohif/{path}")
    assert page.content == client.get("/ohif/index.html").content
    assert "<title>OHIF Viewer</title>" in page.text
    assert unquote(page.cookies["MONAILABEL_SERVER_URL"]) == "http://testserver/"


def test_an_address_that_the_user_chose_stays(client: TestClient) -> None:
    client.cookies.set("MONAILABEL_SERVER_URL", "http://elsewhere:9000/")
    assert "set-cookie" not in client.get("/ohif/").headers


def test_a_question_reaches_the_archive_whole(client: TestClient, datastore: Datastore) -> None:
    accept = 'multipart/related; type="application/octet-stream"'
    answer = client.get("/proxy/dicom/qido/studies?limit=1&PatientName=a%2A", headers={"accept": accept})
    assert datastore.asked == [
        ("GET", "qido", "studies", "limit=1&PatientName=a%2A", {"accept": accept}, b"")
    ]
    assert (answer.status_code, answer.content) == (206, b"content")
    assert answer.headers["content-type"] == "application/dicom+json"
    assert "x-secret" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("GET", "qido/studies/1/series/2/metadata", "wado"),
        ("GET", "wado/studies/1", "wado"),
        ("POST", "wado/studies", "stow"),
    ],
)
def test_each_question_goes_to_its_service(
    client: TestClient, datastore: Datastore, method: str, path: str, service: str
) -> None:
    client.request(method, f"/proxy/dicom/{path}", content=b"body" if method == "POST" else None)
    assert datastore.asked[0][1] == service
    assert datastore.asked[0][5] == (b"body" if method == "POST" else b"")


@pytest.mark.parametrize(
    "path", ["qido/system", "other/studies", "wado/tools/execute-script", "wado/studies/%2e%2e/%2e%2e/system"]
)
def test_what_is_no_dicomweb_is_not_passed_on(client: TestClient, datastore: Datastore, path: str) -> None:
    assert client.post(f"/proxy/dicom/{path}").status_code == 404
    assert datastore.asked == []


def test_a_folder_of_files_has_no_archive(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    app = type("App", (), {"datastore": lambda self: object()})()
    monkeypatch.setattr(viewer, "app_instance", lambda: app)
    answer = client.get("/proxy/dicom/qido/studies")
    assert answer.status_code == 404
    assert "needs a DICOM archive" in answer.json()["detail"]
