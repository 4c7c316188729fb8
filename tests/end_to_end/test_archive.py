"""A round of annotation over a real archive, through the real server, by MONAI Label's own client."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from orthanc import Orthanc
from synthetic import ORGAN, make_label, make_scan, same_place

from diffcl.io import read_scan
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicom.series_write import write_series

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # MONAI Label's client leaves sockets open

SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8"}
NAMES = [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}]


def wait_for(done: Callable[[], bool], seconds: float = 180) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def test_the_loop_is_the_same_as_with_files(
    tmp_path_factory: pytest.TempPathFactory, start_server: Any, archive: Orthanc, tmp_path: Path
) -> None:
    folder = tmp_path_factory.mktemp("with an archive")
    scans = {}
    for name, modality in (("oblique", "MR"), ("flipped", "CT"), ("anisotropic", "MR")):
        archive.add(write_series(make_scan(name), tmp_path / name, name=f"patient-{name}", modality=modality))
        scans[read_scan(tmp_path / name).series.uid] = name
    archive.add(write_series(make_scan("straight"), tmp_path / "thin", name="patient-thin")[:1])
    work = folder / "work"
    running = start_server(folder, "--studies", archive.url, "--work", str(work))
    client = running.client
    assert client.info()["datastore"]["total"] == 4
    assert not (work / "archive").exists()

    first = client.next_sample("first", {})
    assert first["id"] in scans
    source = read_scan(tmp_path / scans[first["id"]]).image
    assert same_place(sitk.ReadImage(first["path"]), source)
    label, params = client.infer("organ", first["id"], SLICER)
    assert same_place(sitk.ReadImage(label), source)
    assert params["label_names"]["organ_tail"] == 2
    answer = requests.post(f"{running.url}/infer/organ?image={first['id']}&output=dicom_seg", timeout=60)
    assert answer.headers["content-type"] == "application/dicom"
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    seg = read_seg(tmp_path / "seg.dcm", read_scan(tmp_path / scans[first["id"]]), ORGAN.labels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(seg), sitk.GetArrayFromImage(sitk.ReadImage(label)))
    Path(label).unlink()

    *labelled, last = scans
    for uid in labelled:
        sitk.WriteImage(make_label(scans[uid]), tmp_path / "label.nii.gz")
        answer = client.save_label(uid, str(tmp_path / "label.nii.gz"), params={"label_info": NAMES})
        assert answer["version"] == 1
    assert client.info()["datastore"]["completed"] == 2
    assert client.next_sample("first", {})["id"] == last
    saved = client.download_label(labelled[0], "final")
    truth = sitk.GetArrayFromImage(make_label(scans[labelled[0]]))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(saved)), truth)
    Path(saved).unlink()
    assert len(archive.find("Series", Modality="SEG")) == 2

    client.train_start("organ", {"steps": 4})
    wait_for(lambda: client.train_status()["status"] not in ("SUBMITTED", "RUNNING"))
    assert client.info()["train_stats"]["organ"]["status"] == "done"

    see_through_ohif(running.url, last)

    archive.kill()
    wait_for(lambda: requests.get(f"{running.url}/info/", timeout=60).status_code == 503)
    answer = requests.post(f"{running.url}/activelearning/first", timeout=60)
    assert (answer.status_code, "does not answer" in answer.json()["detail"]) == (503, True)
    archive.start()
    wait_for(lambda: requests.get(f"{running.url}/info/", timeout=60).ok)
    assert client.info()["datastore"]["completed"] == 2


def see_through_ohif(url: str, uid: str) -> None:
    """OHIF is there, and what it asks of the server gets the archive's answers."""
    page = requests.get(f"{url}/ohif/viewer?StudyInstanceUIDs=1", timeout=60)
    assert "text/html" in page.headers["content-type"]
    assert unquote(page.cookies["MONAILABEL_SERVER_URL"]) == f"{url}/"

    proxy = f"{url}/proxy/dicom"
    named = {"SeriesInstanceUID": uid, "PatientName": "Phantom*", "PatientID": "patient-*"}
    (found,) = requests.get(f"{proxy}/qido/series", params=named, timeout=60).json()
    study = found["0020000D"]["Value"][0]
    headers = requests.get(f"{proxy}/wado/studies/{study}/series/{uid}/metadata", timeout=60).json()
    one = headers[0]["00080018"]["Value"][0]
    frame = requests.get(
        f"{proxy}/wado/studies/{study}/series/{uid}/instances/{one}/frames/1",
        headers={"Accept": 'multipart/related; type="application/octet-stream"'},
        timeout=60,
    )
    assert frame.headers["content-type"].startswith("multipart/related")
    assert len(frame.content) > 500
