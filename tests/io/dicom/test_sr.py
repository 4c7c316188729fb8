from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from diffcl.errors import OutputError, ScanError
from diffcl.io import read_scan
from diffcl.io.dicom.seg_write import write_seg
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.dicom.sr import write_sr
from diffcl.recipe import load_recipe

LABELS = load_recipe("hippocampus").labels
VOLUMES = {"hippocampus_anterior": 1.51234567, "hippocampus_posterior": 0.0}
MODEL = {"model_name": "hippocampus", "model_version": 4}


@pytest.fixture(params=["series", "ct_series"], ids=["MR", "CT"])
def source(request: pytest.FixtureRequest) -> DicomSeries:
    found = read_scan(request.getfixturevalue(request.param)).series
    assert found is not None
    return found


@pytest.fixture
def seg(source: DicomSeries, label: sitk.Image, tmp_path: Path) -> Path:
    write_seg(label, source, LABELS, tmp_path / "seg.dcm", **MODEL)
    return tmp_path / "seg.dcm"


def test_other_software_reads_the_volume_of_every_class(
    source: DicomSeries, seg: Path, tmp_path: Path
) -> None:
    write_sr(VOLUMES, 0.25, seg, source, LABELS, tmp_path / "sr.dcm", **MODEL)
    program = Path(sys.executable).with_name("tid1500reader")
    files = ["--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "sr.json"]
    subprocess.run([program, *files], check=True, capture_output=True)
    *classes, doubt = json.loads((tmp_path / "sr.json").read_text(encoding="utf-8"))["Measurements"]
    for group, one in zip(classes, LABELS, strict=True):
        assert one.type is not None
        assert group["TrackingIdentifier"] == one.name
        assert group["Finding"]["CodeValue"] == one.type.value
        assert group["ReferencedSegment"] == one.value
        assert group["segmentationSOPInstanceUID"] == pydicom.dcmread(seg).SOPInstanceUID
        assert group["SourceSeriesForImageSegmentation"] == source.uid
        assert group["measurementAlgorithmIdentification"] == {
            "AlgorithmName": "hippocampus",
            "AlgorithmVersion": "4",
        }
        (item,) = group["measurementItems"]
        assert (item["quantity"]["CodeMeaning"], item["units"]["CodeValue"]) == ("Volume", "ml")
        assert float(item["value"]) == pytest.approx(VOLUMES[one.name], abs=1e-4)
    (item,) = doubt["measurementItems"]
    assert item["quantity"]["CodeMeaning"] == "Share of the segmentation expected to be wrong"
    assert float(item["value"]) == 0.25


def test_the_validator_of_dicom3tools_finds_no_error(
    source: DicomSeries, seg: Path, tmp_path: Path, dciodvfy: Callable[[Path], str]
) -> None:
    write_sr(VOLUMES, 0.25, seg, source, LABELS, tmp_path / "sr.dcm", **MODEL)
    assert dciodvfy(tmp_path / "sr.dcm") == ""


def test_the_report_belongs_to_the_patient_study_and_images(
    source: DicomSeries, seg: Path, tmp_path: Path
) -> None:
    write_sr(VOLUMES, 0.25, seg, source, LABELS, tmp_path / "sr.dcm", **MODEL)
    report, first = pydicom.dcmread(tmp_path / "sr.dcm"), source.headers[0]
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate"):
        assert report[keyword].value == first[keyword].value
    referenced = [
        image.ReferencedSOPInstanceUID
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in report.get(keyword, ())  # highdicom 0.24 and newer put all of a study into the former
        for one in study.ReferencedSeriesSequence
        for image in one.ReferencedSOPSequence
    ]
    uids = [header.SOPInstanceUID for header in source.headers]
    assert sorted(referenced) == sorted([*uids, pydicom.dcmread(seg).SOPInstanceUID])


def test_what_cannot_be_reported_leaves_nothing(
    series: Path,
    label: sitk.Image,
    tmp_path: Path,
    edit: Callable[[Path, Callable[[Dataset, int], None]], None],
) -> None:
    source = read_scan(series).series
    assert source is not None
    path, seg = tmp_path / "sr.dcm", tmp_path / "seg.dcm"
    write_seg(label, source, LABELS, seg, **MODEL)
    with pytest.raises(ScanError, match=r"0001\.dcm: not a DICOM segmentation"):
        write_sr(VOLUMES, 0.25, series / "0001.dcm", source, LABELS, path, **MODEL)
    with pytest.raises(ValueError, match="no volume for hippocampus_anterior"):
        write_sr({"hippocampus_posterior": 1.0}, 0.25, seg, source, LABELS, path, **MODEL)
    uncoded = [LABELS[0].model_copy(update={"type": None}), LABELS[1]]
    with pytest.raises(OutputError, match="class hippocampus_anterior has no DICOM code"):
        write_sr(VOLUMES, 0.25, seg, source, uncoded, path, **MODEL)
    edit(series, lambda one, _: setattr(one, "Modality", "PT"))
    positron = read_scan(series).series
    assert positron is not None
    with pytest.raises(OutputError, match="no report is defined for modality PT"):
        write_sr(VOLUMES, 0.25, seg, positron, LABELS, path, **MODEL)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["seg.dcm", "series"]
