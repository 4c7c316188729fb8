"""Whatever stands in a DICOM file: a scan, or one line that says what is wrong with it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_forms import compress, write_enhanced
from fuzz_dicom import WEIGHTS, Fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffcl.errors import DiffclError, ScanError
from diffcl.io import read_scan
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicom.seg_write import write_seg
from diffcl.io.dicom.series_write import write_series
from diffcl.recipe import load_recipe

LABELS = load_recipe("hippocampus").labels
FORMS = ("files", "enhanced")
SECRETS = ("Invented", "secret-17")
PREAMBLE = 132
"""Bytes before the first element, without which a file is not looked at."""

KEYWORDS = (
    "SOPClassUID", "SeriesInstanceUID", "ImageType", "Modality", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept", "FrameOfReferenceUID", "SliceThickness", "SeriesNumber", "PatientSex", "StudyDate",
    "SpecificCharacterSet", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelData",
)  # fmt: skip

VALUES = st.one_of(
    st.none(),
    st.sampled_from(
        ["", "-1", "0", "1e999", "nan", "inf", "1.5", "65535", "GARBAGE", "1\\2", "1\\2\\3", "äöü"]
    ),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT series of seven small slices of a patient with a name in each of the `FORMS`."""
    values = np.random.default_rng(3).integers(-900, 900, (7, 6, 5)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    folder = tmp_path_factory.mktemp("whole")
    for file in write_series(image, folder / "files", modality="CT", intercept=-1024.0):
        dataset = pydicom.dcmread(file)
        dataset.PatientName, dataset.PatientID = SECRETS
        dataset.save_as(file)
    (folder / "enhanced").mkdir()
    write_enhanced(folder / "files", folder / "enhanced" / "0001.dcm")
    shutil.copytree(folder / "files", folder / "compressed")
    compress(folder / "compressed", gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    for form in (*FORMS, "compressed"):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read_scan(folder / form).image), values)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def read_and_write(folder: Path) -> DiffclError | None:
    """Read a series, write a segmentation of it and read that; return the error for people, if any."""
    result = folder.parent / "seg.dcm"
    try:
        scan = read_scan(folder)
        label = sitk.Cast(scan.image > 0, sitk.sitkUInt8)
        assert scan.series is not None
        write_seg(label, scan.series, LABELS, result, model_name="model", model_version=1)
        back = read_seg(result, scan)
    except DiffclError as error:
        return error
    assert np.isfinite(sitk.GetArrayFromImage(scan.image)).all()
    assert (sitk.GetArrayFromImage(back) == sitk.GetArrayFromImage(label)).all()
    result.unlink()
    return None


def assert_read_or_refused(folder: Path) -> None:
    """Nothing but an error of one line may come of it, and nothing may be left."""
    error = read_and_write(folder)
    assert "\n" not in str(error)
    assert not any(secret in str(error) for secret in SECRETS)
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def fresh(whole: Path, place: Path) -> Path:
    shutil.rmtree(place)
    shutil.copytree(whole, place / "series")
    return place / "series"


def nth(folder: Path, number: int) -> Path:
    """One of the files of a folder."""
    files = sorted(folder.iterdir())
    return files[number % len(files)]


FORM, NUMBER = st.sampled_from(FORMS), st.integers(0, 6)
FUZZ = settings(
    max_examples=60,
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(form=FORM, number=NUMBER, at=st.floats(0, 1), noise=st.binary(min_size=1, max_size=12))
def test_damaged_bytes_are_read_or_refused(
    whole: Path, place: Path, form: str, number: int, at: float, noise: bytes
) -> None:
    damage(fresh(whole / form, place), number, at, noise)


@settings(FUZZ, max_examples=8)  # each starts a process that decodes
@given(number=NUMBER, at=st.floats(0.9, 1), noise=st.binary(min_size=1, max_size=12))
def test_damaged_compressed_pixels_are_read_or_refused(
    whole: Path, place: Path, number: int, at: float, noise: bytes
) -> None:
    damage(fresh(whole / "compressed", place), number, at, noise)


def damage(folder: Path, number: int, at: float, noise: bytes) -> None:
    """Write noise into a file of a series, and read or refuse that."""
    file = nth(folder, number)
    content = bytearray(file.read_bytes())
    start = PREAMBLE + int(at * (len(content) - PREAMBLE - len(noise)))
    content[start : start + len(noise)] = noise
    file.write_bytes(content)
    assert_read_or_refused(folder)


@FUZZ
@given(form=FORM, number=NUMBER, share=st.floats(0, 1))
def test_truncated_files_are_refused(whole: Path, place: Path, form: str, number: int, share: float) -> None:
    folder = fresh(whole / form, place)
    file = nth(folder, number)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * (len(content) - 1))])
    with pytest.raises(ScanError):
        read_scan(folder)


@FUZZ
@given(form=FORM, keyword=st.sampled_from(KEYWORDS), value=VALUES, everywhere=st.booleans())
def test_odd_attributes_are_read_or_refused(
    whole: Path, place: Path, form: str, keyword: str, value: str | None, everywhere: bool
) -> None:
    folder = fresh(whole / form, place)
    for file in sorted(folder.iterdir())[: None if everywhere else 1]:
        dataset = pydicom.dcmread(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these values are meant to be wrong
            if value is None and keyword in dataset:
                del dataset[keyword]
            elif value is not None:
                _force(dataset, keyword, value)
            dataset.save_as(file)
    assert_read_or_refused(folder)


def _force(dataset: pydicom.Dataset, keyword: str, value: str) -> None:
    """Store a text as the bytes of an attribute, whatever its kind."""
    tag = pydicom.tag.Tag(pydicom.datadict.tag_for_keyword(keyword))
    content = value.encode("utf-8")
    content += b" " * (len(content) % 2)
    dataset[tag] = pydicom.dataelem.RawDataElement(
        tag, pydicom.datadict.dictionary_VR(tag)[:2], len(content), content, 0, False, True
    )


def test_mutated_files_of_every_kind_are_read_or_refused(tmp_path: Path) -> None:
    quick = {kind: weight for kind, weight in WEIGHTS.items() if kind not in {"jpeg", "rle"}}
    fuzz = Fuzz(tmp_path, 5, quick)
    for number in range(40):
        kind, found = fuzz.case(number)
        assert found in {"read", "refused"}, (number, kind)
