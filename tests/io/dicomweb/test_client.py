"""The client against a real archive, and against one that misbehaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from orthanc import Orthanc

from diffcl.errors import ArchiveDownError, ArchiveError, GoneError, UsageError
from diffcl.io import read_scan
from diffcl.io.dicom.series_write import write_series
from diffcl.io.dicomweb import client as dicomweb
from diffcl.io.dicomweb import session
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.session import Credentials

Answer = Callable[[BaseHTTPRequestHandler, int], None]


@pytest.fixture
def stored(orthanc: Orthanc, image: sitk.Image, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A series of seven images in the archive, named after the test."""
    files = write_series(image, tmp_path / "source", name=request.node.name)
    orthanc.add(files)
    return tmp_path / "source"


@pytest.fixture
def archive(orthanc: Orthanc) -> Archive:
    return Archive(orthanc.url)


@pytest.fixture
def pretend() -> Iterator[Callable[[Answer], str]]:
    """Starts a server that answers every request as it is told, with the number of the request; its address."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            count = 0

            def do_GET(self) -> None:
                Handler.count += 1
                answer(self, Handler.count)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/dicom-web"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, state: int, body: bytes = b"[]", **headers: str) -> None:
    handler.send_response(state)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again for a moment only."""
    monkeypatch.setattr(dicomweb, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(dicomweb, "FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(session, "READ_SECONDS", 0.2)


def test_a_series_comes_back_as_it_was_stored(archive: Archive, stored: Path, tmp_path: Path) -> None:
    uid = pydicom.dcmread(stored / "0001.dcm").SeriesInstanceUID
    (entry,) = archive.search({"SeriesInstanceUID": uid})
    assert (entry.uid, entry.modality, entry.images, entry.date) == (uid, "MR", 7, "20200101")
    (tmp_path / "got").mkdir()
    assert archive.download(entry.study, entry.uid, tmp_path / "got") == 7
    got, source = read_scan(tmp_path / "got"), read_scan(stored)
    assert sitk.Hash(got.image) == sitk.Hash(source.image)
    assert got.image.GetOrigin() == source.image.GetOrigin()
    assert got.image.GetDirection() == source.image.GetDirection()


def test_headers_hold_what_was_asked_for_and_no_more(archive: Archive, stored: Path) -> None:
    one = pydicom.dcmread(stored / "0001.dcm")
    headers = archive.describe(one.StudyInstanceUID, one.SeriesInstanceUID, ["SOPInstanceUID", "Laterality"])
    files = {str(pydicom.dcmread(file).SOPInstanceUID) for file in stored.glob("*.dcm")}
    assert {header["00080018"]["Value"][0] for header in headers} == files
    assert all("00100010" not in header for header in headers)


def test_an_object_stored_twice_is_there_once(archive: Archive, orthanc: Orthanc, stored: Path) -> None:
    uid = pydicom.dcmread(stored / "0001.dcm").SOPInstanceUID
    archive.store([stored / "0001.dcm", stored / "0001.dcm"])
    archive.store([stored / "0001.dcm"])
    assert len(orthanc.find("Instance", SOPInstanceUID=uid)) == 1


def test_what_is_not_there_is_said(archive: Archive, stored: Path, tmp_path: Path) -> None:
    study = pydicom.dcmread(stored / "0001.dcm").StudyInstanceUID
    with pytest.raises(GoneError, match=r"series 1\.2\.3 is not there any more"):
        archive.download(study, "1.2.3", tmp_path)
    with pytest.raises(GoneError, match=r"object 1\.2\.3 is not there any more"):
        archive.download_object(study, "1.2", "1.2.3", tmp_path / "one.dcm")
    assert archive.search({"SeriesInstanceUID": "1.2.3"}) == []


def test_an_archive_with_users_lets_the_right_one_in(tmp_path: Path) -> None:
    guarded = Orthanc(tmp_path / "guarded", users={"ann": "secret word"})
    guarded.start()
    address = guarded.url.replace("//", "//ann:secret%20word@")
    assert Archive(guarded.url, Credentials("ann", "secret word")).search({}) == []
    assert Archive(address).search({}) == []
    for credentials in (None, Credentials("ann", "wrong"), Credentials(token="secret")):
        with pytest.raises(ArchiveError, match=r"refuses the credentials \(HTTP 401\)") as caught:
            Archive(guarded.url, credentials).search({})
        assert "secret" not in str(caught.value)
    guarded.kill()


def test_a_token_is_sent_as_a_bearers(pretend: Callable[[Answer], str]) -> None:
    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        reply(handler, 200 if handler.headers["Authorization"] == "Bearer abc" else 401)

    assert Archive(pretend(answer), Credentials(token="abc")).search({}) == []


def test_an_archive_that_restarts_is_waited_for(series: Path, tmp_path: Path) -> None:
    other = Orthanc(tmp_path / "other")
    other.start()
    other.add([series / "0001.dcm"])
    archive = Archive(other.url)
    other.kill()
    again = threading.Timer(0.6, other.start)
    again.start()
    found = archive.search({"Modality": "MR"})
    again.join()
    other.kill()
    assert [entry.images for entry in found] == [1]


@pytest.mark.usefixtures("impatient")
class TestFailures:
    @pytest.mark.parametrize("state", [429, 500, 503])
    def test_what_may_be_over_soon_is_tried_again(self, pretend: Callable[[Answer], str], state: int) -> None:
        url = pretend(lambda handler, count: reply(handler, 200 if count > 2 else state))
        assert Archive(url).search({}) == []

    def test_what_goes_on_is_said(self, pretend: Callable[[Answer], str]) -> None:
        with pytest.raises(ArchiveDownError, match=r"is busy or broken \(HTTP 503\)\. Try again later"):
            Archive(pretend(lambda handler, _: reply(handler, 503))).search({})

    def test_a_slow_archive_is_given_up(self, pretend: Callable[[Answer], str]) -> None:
        done = threading.Event()
        url = pretend(lambda handler, _: (done.wait(5), reply(handler, 200))[1])
        with pytest.raises(ArchiveDownError, match="is too slow to answer"):
            Archive(url).search({})
        done.set()

    def test_nobody_there_is_said(self) -> None:
        with pytest.raises(ArchiveDownError, match=r"archive 127\.0\.0\.1:9: does not answer"):
            Archive("http://127.0.0.1:9/dicom-web").search({})

    def test_an_answer_that_breaks_off_is_no_series(
        self, pretend: Callable[[Answer], str], tmp_path: Path
    ) -> None:
        def break_off(handler: BaseHTTPRequestHandler, _: int) -> None:
            kind = 'multipart/related; type="application/dicom"; boundary=x'
            reply(handler, 200, b"--x\r\n\r\nDICM", Content_Type=kind, Content_Length="5000")
            handler.close_connection = True

        with pytest.raises(ArchiveDownError, match="does not answer"):
            Archive(pretend(break_off)).download("1.2", "1.2.3", tmp_path)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("body", [b"<html>", b'[{"00080060": 7}]', b"[7]"], ids=["page", "odd", "number"])
    def test_an_answer_of_another_kind_is_said(self, pretend: Callable[[Answer], str], body: bytes) -> None:
        with pytest.raises(ArchiveError, match="answers, but not as a DICOMweb archive does"):
            Archive(pretend(lambda handler, _: reply(handler, 200, body))).search({})

    def test_a_wrong_path_is_said(self, pretend: Callable[[Answer], str]) -> None:
        with pytest.raises(ArchiveError, match="has no DICOMweb service at this address"):
            Archive(pretend(lambda handler, _: reply(handler, 404))).search({})

    def test_an_object_that_is_not_taken_is_said(
        self, pretend: Callable[[Answer], str], series: Path
    ) -> None:
        body = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [42752]}}]}}'
        kind = "application/dicom+json"
        url = pretend(lambda handler, _: reply(handler, 200, body, Content_Type=kind))
        with pytest.raises(ArchiveError, match=r"did not store 1 of 1 objects \(reason A700h\)"):
            Archive(url).store([series / "0001.dcm"])


@pytest.mark.parametrize(("pattern", "count"), [("wild-*", 2), ("wild-?", 1), ("*-b2", 1), ("wilder*", 0)])
def test_wildcards_match(
    orthanc: Orthanc, archive: Archive, image: sitk.Image, tmp_path: Path, pattern: str, count: int
) -> None:
    for name in ("wild-a", "wild-b2"):
        orthanc.add(write_series(image, tmp_path / name, name=name)[:1])
    assert len(archive.search({"PatientID": pattern})) == count


def test_an_answer_in_pages_is_read_to_its_end(pretend: Callable[[Answer], str]) -> None:
    def page(handler: BaseHTTPRequestHandler, count: int) -> None:
        first = (count - 1) * 100
        uids = range(first, min(first + 100, 250))
        entries = ",".join(
            f'{{"0020000E": {{"Value": ["1.{uid}"]}}, "0020000D": {{"Value": ["1"]}}}}' for uid in uids
        )
        assert (f"offset={first}" in handler.path) == (first > 0)
        reply(handler, 200, f"[{entries}]".encode())

    assert len(Archive(pretend(page)).search({})) == 250


@pytest.mark.parametrize("url", ["", "ftp://host/x", "http://", "studies"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not an address of a DICOMweb archive"):
        Archive(url)


def test_names_that_would_leave_a_folder_are_no_series(pretend: Callable[[Answer], str]) -> None:
    body = b'[{"0020000E": {"Value": ["../../evil"]}, "0020000D": {"Value": ["1"]}}]'
    assert Archive(pretend(lambda handler, _: reply(handler, 200, body))).search({}) == []
