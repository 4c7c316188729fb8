from __future__ import annotations

import io
import json
import warnings
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from fastapi import FastAPI

from diffcl.studies.folder import FolderStudies
from diffcl.web.viewer import ADDED, Viewer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette prefers another httpx
    from fastapi.testclient import TestClient

OHIF = Path(str(distribution("monailabel").locate_file("monailabel"))) / "endpoints" / "static" / "ohif"


class Studies:
    """Takes down what is passed on; of study 1 it serves series 1.1, and all of study 2."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.status, self.type, self.content = 200, "application/dicom+json", b"[]"

    def visible_series(self) -> dict[str, str]:
        return {"1.1": "1", "2.1": "2"}

    def pass_on(self, *asked: Any) -> requests.Response:
        self.asked.append(asked)
        answer = requests.Response()
        answer.status_code, answer.raw = self.status, io.BytesIO(self.content)
        answer.headers.update({"content-type": self.type, "x-secret": "word"})
        return answer


@pytest.fixture
def studies() -> Studies:
    return Studies()


@pytest.fixture
def client(studies: Studies) -> TestClient:
    return client_of(studies)


def client_of(studies: Any) -> TestClient:
    application = FastAPI()
    application.include_router(Viewer(OHIF, lambda: studies).router())
    return TestClient(application)


def test_every_file_of_the_viewer_is_served_as_it_is(client: TestClient) -> None:
    files = [file for file in OHIF.rglob("*.*") if file.parent != OHIF]
    for file in (OHIF / "manifest.json", files[0]):
        assert client.get(f"/ohif/{file.relative_to(OHIF)}").content == file.read_bytes()


def test_its_settings_end_with_what_it_lacks(client: TestClient) -> None:
    answer = client.get("/ohif/app-config.js")
    given = (OHIF / "app-config.js").read_text()
    assert answer.text.startswith(given.replace("dicomUploadEnabled: true", "dicomUploadEnabled: false"))
    assert answer.text.endswith(ADDED.read_text())
    assert answer.headers["cache-control"] == "no-cache"  # or an update would reach nobody


@pytest.mark.parametrize("path", ["", "app.bundle.css"])
def test_it_loads_no_fonts_from_another_site(client: TestClient, path: str) -> None:
    original = (OHIF / (path or "index.html")).read_text()
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


def test_a_question_reaches_the_archive_whole(client: TestClient, studies: Studies) -> None:
    accept = 'multipart/related; type="application/octet-stream"'
    studies.status, studies.type, studies.content = 206, accept, b"content"
    path = "studies/1/series/1.1/instances/1.1.1/frames/1"
    answer = client.get(f"/proxy/dicom/wado/{path}?a=b%2A", headers={"accept": accept, "cookie": "a=b"})
    assert studies.asked == [("GET", "wado", path, "a=b%2A", {"accept": accept}, b"")]
    assert (answer.status_code, answer.content) == (206, b"content")
    assert answer.headers["content-type"] == accept
    assert "x-secret" not in answer.headers


def test_metadata_is_asked_of_the_service_that_has_it(client: TestClient, studies: Studies) -> None:
    client.get("/proxy/dicom/qido/studies/1/series/1.1/metadata")
    client.get("/proxy/dicom/qido/studies")
    assert [asked[1] for asked in studies.asked] == ["wado", "qido"]


@pytest.mark.parametrize(
    ("path", "passed"),
    [
        ("qido/studies", True),
        ("qido/series", True),
        ("qido/studies/1/series", True),
        ("qido/studies/1/instances", True),
        ("qido/studies/1/series/1.1/instances", True),
        ("wado/studies/1/metadata", True),
        ("wado/studies/1/series/1.1", True),
        ("wado/studies/1/series/1.1/instances/1.1.1", True),
        ("wado/studies/1/series/1.1/instances/1.1.1/rendered", True),
        ("wado/studies/1/series/1.1/instances/1.1.1/frames/1,2/rendered", True),
        ("wado/studies/1/series/1.1/instances/1.1.1/bulkdata/7fe00010", True),
        ("wado/studies/1", False),
        ("wado/studies/1/rendered", False),
        ("wado/instances/1.1.1", False),
        ("wado/studies/1/series/1.2/metadata", False),
        ("wado/studies/2/series/1.1/metadata", False),
        ("wado/studies/3/metadata", False),
        ("qido/studies/3/series", False),
        ("qido/studies/1/series/1.1/reject/113001%5EDCM", False),
        ("wado/studies/1/series/1.1/instances/1.1.1/bulkdata/..%2F..%2Fsystem", False),
        ("stow/studies", False),
        ("qido/system", False),
        ("other/studies", False),
        ("wado/tools/execute-script", False),
        ("wado/studies/%2e%2e/%2e%2e/system", False),
        ("wado/", False),
    ],
)
def test_only_resources_of_series_that_are_served_are_passed_on(
    path: str, passed: bool, client: TestClient, studies: Studies
) -> None:
    assert client.get(f"/proxy/dicom/{path}").status_code == (200 if passed else 404)
    assert bool(studies.asked) == passed


def test_nothing_is_written_through_it(client: TestClient, studies: Studies) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, "/proxy/dicom/wado/studies/1/series/1.1").status_code == 405
    assert studies.asked == []


def test_lists_are_without_what_is_not_served(client: TestClient, studies: Studies) -> None:
    found = [{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in ("1", "2", "3")]
    studies.content = json.dumps(found).encode()
    assert client.get("/proxy/dicom/qido/studies").json() == found[:2]
    series = [{**found[0], "0020000E": {"vr": "UI", "Value": [uid]}} for uid in ("1.1", "1.2")]
    studies.content = json.dumps([*series, found[0], {}, 1]).encode()
    for path in (
        "qido/studies/1/series",
        "qido/series",
        "qido/studies/1/instances",
        "wado/studies/1/metadata",
    ):
        assert client.get(f"/proxy/dicom/{path}").json() == series[:1]


@pytest.mark.parametrize(
    ("status", "kind", "content", "expected"),
    [
        (200, "text/html", b"<script>", 502),
        (200, "image/svg+xml", b"<svg>", 502),
        (200, 'multipart/related; type="text/html"', b"<script>", 502),
        (500, "text/html", b"a stack", 502),
        (404, "text/html", b"nothing", 404),
        (200, "application/dicom+json", b"{", 502),
        (204, "", b"", 204),
    ],
)
def test_nothing_of_an_answer_runs_in_a_page_of_the_server(
    status: int, kind: str, content: bytes, expected: int, client: TestClient, studies: Studies
) -> None:
    studies.status, studies.type, studies.content = status, kind, content
    answer = client.get("/proxy/dicom/qido/studies")
    assert answer.status_code == expected
    assert b"<" not in answer.content


def test_a_folder_of_files_has_no_archive(tmp_path: Path) -> None:
    answer = client_of(FolderStudies(tmp_path, list)).get("/proxy/dicom/qido/studies")
    assert answer.status_code == 404
    assert "needs a DICOM archive" in answer.json()["detail"]
