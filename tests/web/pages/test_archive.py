"""The pages of a project whose scans lie in a real archive, into which others store, and which goes away."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from orthanc import Orthanc
from pages import application, ask, project_of
from synthetic import ORGAN, make_label, make_scan

from diffcl.io import read_scan
from diffcl.io.dicom.seg_write import write_annotation
from diffcl.io.dicom.series_write import write_series
from diffcl.io.dicomweb.client import Archive
from diffcl.studies import archive_contents as contents
from diffcl.studies.archive import ArchiveStudies

PATIENT = "pages-4711"


@pytest.fixture
def archive(tmp_path: Path) -> Orthanc:
    """An archive for one test alone."""
    return Orthanc(tmp_path / "orthanc")


def labelled_by_others(series: list[Path], folder: Path) -> Path:
    """A segmentation of a series that another program made."""
    scan = read_scan(series[0].parent)
    assert scan.series is not None
    write_annotation(
        make_label("oblique"), scan.series, ORGAN.labels, folder / "others.dcm", title="By others"
    )
    return folder / "others.dcm"


def test_series_are_shown_with_a_way_to_the_viewer_and_never_with_their_patient(
    archive: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "FRESH_SECONDS", 0)
    monkeypatch.setattr(contents, "REST", 0)
    threads, now = set[str](), contents.ArchiveContents.now

    def watched(self: contents.ArchiveContents) -> contents.View:
        threads.add(threading.current_thread().name)
        return now(self)

    monkeypatch.setattr(contents.ArchiveContents, "now", watched)
    files = write_series(make_scan("oblique"), tmp_path / "series", name="oblique")
    for file in files:
        one = pydicom.dcmread(file)
        one.PatientID, one.PatientName = PATIENT, "Phantom^Pages"
        one.save_as(file)
    uid = read_scan(files[0].parent).series.uid
    study = str(one.StudyInstanceUID)
    sitk.WriteImage(make_label("oblique"), tmp_path / "label.nii.gz")
    archive.start()
    try:
        archive.add(files)
        studies = ArchiveStudies(Archive(archive.url), tmp_path / "here", lambda: [ORGAN])
        project = project_of(tmp_path / "none", tmp_path / "store")
        app = application(replace(project, studies=studies, has_viewer=True))
        first = ask(app, "/").text
        assert "1 scan, no label yet: open 3D Slicer with this address" in first
        assert "<h1>organ</h1>" in first
        assert re.search(r"What is stored in the archive by others shows here within \d+ seconds\.", first)
        studies.save_label(uid, tmp_path / "label.nii.gz", "final", {"client_id": "ann"})
        while "1 scan of 1 has a label." not in ask(app, "/").text:
            time.sleep(0.1)
        while "being made" in (text := ask(app, f"/study/scan?image={uid}").text):
            time.sleep(0.1)
        assert f'href="/ohif/monai-label?StudyInstanceUIDs={study}"' in text
        assert '<th scope="row" class="number">1</th>' in text
        assert '<td class="who">ann</td>' in text
        assert ' organ_head</th><td class="number">' in text
        picture = ask(app, f"/study/picture.png?image={uid}").content
        report = ask(app, "/study/report").content
        assert b"1 scan, 1 with a label of a person; 1 version of labels by 1 annotator: ann." in report
        for page in (text.encode(), ask(app, "/").content, ask(app, "/study/scans").content, picture, report):
            assert b"Phantom" not in page
            assert PATIENT.encode() not in page
            assert f"127.0.0.1:{archive.port}".encode() not in page
        archive.add(write_series(make_scan("straight"), tmp_path / "other", name="straight"))
        others = Archive(archive.url)
        others.store([labelled_by_others(files, tmp_path)])
        while "1 scan of 2 has a label." not in ask(app, "/").text:
            time.sleep(0.1)
        while '<th scope="row" class="number">2</th>' not in ask(app, f"/study/scan?image={uid}").text:
            time.sleep(0.1)
        assert "pages" in threads
        assert not [name for name in threads if name.startswith("AnyIO")]  # no request waits for the archive
    finally:
        archive.kill()
    while "Something does not work now." not in (text := ask(app, "/").text):
        time.sleep(0.1)
    assert "does not answer" in text
    assert "The scans cannot be listed now." in text
    assert ask(app, "/study/training").status_code == 200
