from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from diffcl.errors import OutputError, ScanError
from diffcl.io import read_label, read_scan
from diffcl.io.dicom.derived import coded
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicom.seg_write import (
    SERIES_NUMBER,
    cielab,
    write_annotation,
    write_probability_seg,
    write_seg,
)
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.dicom.series_write import write_series
from diffcl.labels import ANATOMICAL_STRUCTURE, UNKNOWN, Code, LabelClass
from diffcl.recipe import load_recipe, shipped_recipes

FORMERLY = {"91723000": "123037004"}
"""Code of what newer editions of the standard have another one for."""

Edit = Callable[[Path, Callable[[Dataset, int], None]], None]

LABELS = (
    LabelClass(
        value=1, name="atrium", color=(220, 90, 60), type=Code(value="82471001", meaning="Left atrium")
    ),
    LabelClass(
        value=2,
        name="tumour",
        color=(70, 150, 220),
        category=Code(value="49755003", meaning="Morphologically Abnormal Structure"),
        type=Code(value="108369006", meaning="Neoplasm"),
        modifier=Code(value="255551008", meaning="Posterior"),
        region=Code(value="12738006", meaning="Brain"),
    ),
)
CARRIED_OVER = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "StudyDescription", "StudyInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip
MODEL = {"model_name": "heart", "model_version": 4}


def voxels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def assert_same(got: sitk.Image, want: sitk.Image) -> None:
    np.testing.assert_array_equal(voxels(got), voxels(want))
    np.testing.assert_allclose(got.GetOrigin(), want.GetOrigin(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.GetSpacing(), want.GetSpacing(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.GetDirection(), want.GetDirection(), rtol=0, atol=1e-6)


SERIES = {
    "MR": "series",
    "MR multi-frame": "enhanced",
    "CT": "ct_series",
    "CT multi-frame": "enhanced_ct",
}


@pytest.fixture(params=SERIES)
def source(request: pytest.FixtureRequest) -> DicomSeries:
    """The series of `image` of each modality, as one file a slice and as one file."""
    path = request.getfixturevalue(SERIES[request.param])
    found = read_scan(path).series
    assert found is not None
    return found


def read_with_dcmqi(path: Path, folder: Path) -> sitk.Image:
    folder.mkdir()
    program = Path(sys.executable).with_name("segimage2itkimage")
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd", "--mergeSegments"]
    subprocess.run(command, check=True, capture_output=True)
    (file,) = folder.glob("*.nrrd")
    return sitk.ReadImage(str(file))


def read_with_highdicom(path: Path, source: DicomSeries) -> np.ndarray:
    seg = hd.seg.segread(path)
    if source.frames:
        numbers = [frame + 1 for frame in source.frames]
        uid = source.headers[0].SOPInstanceUID
        return seg.get_pixels_by_source_frame(uid, numbers, combine_segments=True)
    uids = [header.SOPInstanceUID for header in source.headers]
    return seg.get_pixels_by_source_instance(uids, combine_segments=True)


def test_a_segmentation_is_read_back_voxel_for_voxel_by_others(
    source: DicomSeries, label: sitk.Image, tmp_path: Path
) -> None:
    path = tmp_path / "seg.dcm"
    write_seg(label, source, LABELS, path, **MODEL)

    assert_same(sitk.Cast(read_with_dcmqi(path, tmp_path / "dcmqi"), sitk.sitkUInt8), label)

    np.testing.assert_array_equal(read_with_highdicom(path, source), voxels(label))

    plain = pydicom.dcmread(path)
    for mask, group in zip(plain.pixel_array, plain.PerFrameFunctionalGroupsSequence, strict=True):
        place = group.PlanePositionSequence[0].ImagePositionPatient
        index = round(label.TransformPhysicalPointToContinuousIndex([float(number) for number in place])[2])
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(mask, voxels(label)[index] == segment)


def test_a_segmentation_is_read_back_on_the_grid_of_its_series(
    source: DicomSeries, label: sitk.Image, tmp_path: Path
) -> None:
    path = tmp_path / "seg.dcm"
    write_seg(label, source, LABELS, path, **MODEL)
    for got in (read_seg(path), read_seg(path, source), read_seg(path, source, LABELS), read_label(path)):
        assert_same(got, label)


def test_no_structure_is_a_valid_answer(source: DicomSeries, label: sitk.Image, tmp_path: Path) -> None:
    empty = label * 0
    write_seg(empty, source, LABELS, tmp_path / "seg.dcm", **MODEL)
    assert_same(read_seg(tmp_path / "seg.dcm"), empty)
    assert_same(sitk.Cast(read_with_dcmqi(tmp_path / "seg.dcm", tmp_path / "dcmqi"), sitk.sitkUInt8), empty)
    np.testing.assert_array_equal(read_with_highdicom(tmp_path / "seg.dcm", source), voxels(empty))
    assert len(pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence) == 2


def test_a_class_that_is_absent_does_not_shift_the_others(
    source: DicomSeries, label: sitk.Image, tmp_path: Path
) -> None:
    second = sitk.Cast(label == 2, sitk.sitkUInt8) * 2
    write_seg(second, source, LABELS, tmp_path / "seg.dcm", **MODEL)
    assert_same(read_seg(tmp_path / "seg.dcm"), second)
    assert_same(sitk.Cast(read_with_dcmqi(tmp_path / "seg.dcm", tmp_path / "dcmqi"), sitk.sitkUInt8), second)


@pytest.mark.parametrize("kind", ["binary", "empty", "probabilities", "by hand", "corrected"])
def test_the_validator_of_dicom3tools_finds_no_error(
    source: DicomSeries, label: sitk.Image, tmp_path: Path, dciodvfy: Callable[[Path], str], kind: str
) -> None:
    path = tmp_path / "seg.dcm"
    if kind == "probabilities":
        likely = [sitk.Cast(label == one.value, sitk.sitkFloat32) for one in LABELS]
        write_probability_seg(likely, source, LABELS, path, **MODEL)
    elif kind in ("by hand", "corrected"):
        write_annotation(
            label, source, LABELS, path, proposed_by=("heart", 4) if kind == "corrected" else None
        )
    else:
        write_seg(label if kind == "binary" else label * 0, source, LABELS, path, **MODEL)
    assert dciodvfy(path) == ""


@pytest.mark.parametrize(
    ("proposed_by", "kind", "algorithm"),
    [(("heart", 4), "SEMIAUTOMATIC", "heart"), (None, "MANUAL", "")],
    ids=["corrected", "by hand"],
)
def test_what_a_person_outlined_is_told_from_what_a_model_made(
    series: Path,
    label: sitk.Image,
    tmp_path: Path,
    proposed_by: tuple[str, int] | None,
    kind: str,
    algorithm: str,
) -> None:
    source, path = read_scan(series).series, tmp_path / "seg.dcm"
    assert source is not None
    write_annotation(label, source, LABELS, path, proposed_by=proposed_by, title="Label 3")
    assert_same(read_seg(path, source, LABELS), label)
    found = pydicom.dcmread(path)
    assert found.SeriesDescription == "Label 3"
    assert [one.SegmentAlgorithmType for one in found.SegmentSequence] == [kind, kind]
    assert found.SegmentSequence[0].get("SegmentAlgorithmName", "") == algorithm


def test_segments_are_coded_coloured_and_name_their_algorithm(
    series: Path, label: sitk.Image, tmp_path: Path
) -> None:
    write_seg(label, read_scan(series).series, LABELS, tmp_path / "seg.dcm", **MODEL)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    atrium, tumour = seg.SegmentSequence
    assert atrium.segment_label == "atrium"
    assert atrium.segmented_property_category == coded(ANATOMICAL_STRUCTURE)
    assert atrium.segmented_property_type == codes.cid7151.LeftAtrium
    assert tumour.segmented_property_category == codes.cid7150.MorphologicallyAbnormalStructure
    assert tumour.segmented_property_type == codes.cid7151.Neoplasm
    (modifier,) = tumour.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
    assert (modifier.CodeValue, modifier.CodeMeaning) == ("255551008", "Posterior")
    assert tumour.anatomic_regions == [codes.SCT.Brain]
    assert atrium.RecommendedDisplayCIELabValue == list(cielab((220, 90, 60)))
    (identified,) = [atrium.algorithm_identification]
    assert (identified.name, identified.version, identified.source) == ("heart", "4", "diffcl")
    assert identified.family == codes.DCM.ArtificialIntelligence


def test_images_patient_study_and_frame_of_reference_are_those_of_the_series(
    series: Path, label: sitk.Image, tmp_path: Path, edit: Edit
) -> None:
    def identify(one: Dataset, _: int) -> None:
        one.SpecificCharacterSet = "ISO_IR 100"
        one.PatientName, one.PatientID, one.PatientBirthDate = "Müller^Jürgen", "id-7", "19500102"
        one.PatientSex, one.PatientAge, one.AccessionNumber, one.StudyID = "M", "070Y", "acc-9", "st-3"
        one.StudyDescription = "Kopf"

    edit(series, identify)
    source = read_scan(series).series
    assert source is not None
    write_seg(label, source, LABELS, tmp_path / "seg.dcm", **MODEL)
    seg, first = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(series / "0001.dcm")
    for keyword in CARRIED_OVER:
        assert seg[keyword].value == first[keyword].value, keyword
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    uids = [header.SOPInstanceUID for header in source.headers]
    assert [one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence] == uids
    places = {header.SOPInstanceUID: header.ImagePositionPatient for header in source.headers}
    for group in seg.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        assert group.PlanePositionSequence[0].ImagePositionPatient == places[image.ReferencedSOPInstanceUID]


@pytest.mark.parametrize(
    "odd",
    [
        {"PatientName": "no caret at all"},
        {"PatientSex": "X"},
        {"StudyDate": "2020.01.19"},
        {"PatientBirthDate": "unknown"},
        {"SeriesNumber": None},
        {"SliceThickness": None},
        {"SpacingBetweenSlices": "-2.5"},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_odd_headers_neither_stop_a_segmentation_nor_show_the_patient(
    series: Path,
    label: sitk.Image,
    tmp_path: Path,
    edit: Edit,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    odd: dict[str, str | None],
) -> None:
    edit(series, lambda one, _: [setattr(one, keyword, value) for keyword, value in odd.items()])
    write_seg(label, read_scan(series).series, LABELS, tmp_path / "seg.dcm", **MODEL)
    assert_same(read_seg(tmp_path / "seg.dcm"), label)
    assert capfd.readouterr() == ("", "")
    assert "caret" not in "".join(
        record.getMessage() for record in caplog.records if record.levelname != "DEBUG"
    )


@pytest.mark.parametrize(
    ("stored", "offset"),
    [(b"7 ", 7), (b"-5", 0), (b"1.2.840.99", 0), (b"2147483640", 0), (b"1\\2 ", 0)],
    ids=["one", "negative", "no number", "too large for an offset", "several"],
)
def test_the_number_of_the_series_is_counted_from_where_it_can_be(
    stored: bytes, offset: int, series: Path, label: sitk.Image, tmp_path: Path, edit: Edit
) -> None:
    def set_number(header: Dataset, _: int) -> None:
        tag = pydicom.tag.Tag("SeriesNumber")
        header[tag] = RawDataElement(tag, "IS", len(stored), stored, 0, False, True)

    edit(series, set_number)
    write_seg(label, read_scan(series).series, LABELS, tmp_path / "seg.dcm", **MODEL)
    assert pydicom.dcmread(tmp_path / "seg.dcm").SeriesNumber == SERIES_NUMBER + offset


@pytest.mark.parametrize(
    "keyword", ["PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"]
)
def test_missing_attributes_of_the_patient_are_left_empty(
    series: Path, label: sitk.Image, tmp_path: Path, edit: Edit, keyword: str
) -> None:
    edit(series, lambda one, _: delattr(one, keyword))
    write_seg(label, read_scan(series).series, LABELS, tmp_path / "seg.dcm", **MODEL)
    assert not pydicom.dcmread(tmp_path / "seg.dcm")[keyword].value


def test_probabilities_are_kept_in_steps_of_255(
    source: DicomSeries, label: sitk.Image, tmp_path: Path
) -> None:
    drawn = np.random.default_rng(0).random((2, *voxels(label).shape)).astype(np.float32)
    images = []
    for values in drawn:
        images.append(sitk.GetImageFromArray(values))
        images[-1].CopyInformation(label)
    write_probability_seg(images, source, LABELS, tmp_path / "seg.dcm", **MODEL)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    assert seg.SegmentationFractionalType == "PROBABILITY"
    for group, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        place = group.PlanePositionSequence[0].ImagePositionPatient
        index = round(label.TransformPhysicalPointToContinuousIndex([float(number) for number in place])[2])
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_allclose(plane / 255, drawn[segment - 1, index], atol=0.5001 / 255)
    with pytest.raises(ScanError, match=r"a segmentation of type FRACTIONAL\. Give a binary one"):
        read_seg(tmp_path / "seg.dcm")


def test_slices_that_other_software_leaves_out_are_background(
    series: Path, label: sitk.Image, tmp_path: Path
) -> None:
    scan = read_scan(series)
    write_seg(label, scan.series, LABELS, tmp_path / "seg.dcm", **MODEL)
    sparse = pydicom.dcmread(tmp_path / "seg.dcm")
    masks = sparse.pixel_array
    kept = [index for index, mask in enumerate(masks) if mask.any()]
    groups = sparse.PerFrameFunctionalGroupsSequence
    sparse.PerFrameFunctionalGroupsSequence = [groups[index] for index in reversed(kept)]
    sparse.NumberOfFrames = len(kept)
    sparse.PixelData = np.packbits(masks[kept[::-1]].ravel(), bitorder="little").tobytes() + b"\0"
    sparse.PixelData = sparse.PixelData[: len(sparse.PixelData) // 2 * 2]
    sparse.save_as(tmp_path / "sparse.dcm")
    assert_same(read_seg(tmp_path / "sparse.dcm", scan), label)
    alone = read_seg(tmp_path / "sparse.dcm")
    assert_same(alone, label[:, :, 1:6])


def test_segments_that_other_software_renumbered_are_known_by_name_or_code(
    series: Path, label: sitk.Image, tmp_path: Path
) -> None:
    swapped = (
        LabelClass(value=1, name="Segment_7", type=LABELS[1].type, modifier=LABELS[1].modifier),
        LabelClass(value=2, name="Atrium", type=Code(value="1", scheme="99X", meaning="Something")),
    )
    exchanged = sitk.ChangeLabel(label, {1: 2, 2: 1})
    write_seg(exchanged, read_scan(series).series, swapped, tmp_path / "seg.dcm", **MODEL)
    assert_same(read_label(tmp_path / "seg.dcm", labels=LABELS), label)
    with pytest.raises(ScanError, match=r"segment 1 \(Segment_7\) is no class of this task\. Name it"):
        read_seg(tmp_path / "seg.dcm", labels=LABELS[:1])


def test_a_segmentation_of_another_scan_is_refused(
    series: Path, label: sitk.Image, image: sitk.Image, tmp_path: Path
) -> None:
    write_seg(label, read_scan(series).series, LABELS, tmp_path / "seg.dcm", **MODEL)
    image.SetOrigin((0, 0, 0))
    write_series(image, tmp_path / "other")
    with pytest.raises(ScanError, match="its frames do not lie on the slices of the scan"):
        read_seg(tmp_path / "seg.dcm", read_scan(tmp_path / "other"))


def test_segments_that_overlap_are_refused(series: Path, label: sitk.Image, tmp_path: Path) -> None:
    write_seg(label, read_scan(series).series, LABELS, tmp_path / "seg.dcm", **MODEL)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    seg.PixelData = b"\xff" * len(seg.PixelData)
    seg.save_as(tmp_path / "seg.dcm")
    with pytest.raises(ScanError, match="structures 1 and 2 overlap"):
        read_seg(tmp_path / "seg.dcm")


def test_a_scan_is_no_segmentation(series: Path) -> None:
    with pytest.raises(ScanError, match="not a DICOM segmentation"):
        read_label(series / "0001.dcm")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_damaged_segmentation_is_refused(
    series: Path, label: sitk.Image, tmp_path: Path, share: float
) -> None:
    path = tmp_path / "seg.dcm"
    write_seg(label, read_scan(series).series, LABELS, path, **MODEL)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ScanError, match=r"seg\.dcm: (a damaged|not a) DICOM segmentation"):
        read_label(path)


@pytest.mark.parametrize(
    "keyword",
    [
        "PlanePositionSequence", "SegmentIdentificationSequence", "PixelMeasuresSequence", "SegmentSequence",
        "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence",
    ],
)  # fmt: skip
def test_a_segmentation_whose_sequence_is_a_text_is_refused_in_one_line(
    keyword: str, series: Path, label: sitk.Image, tmp_path: Path
) -> None:
    scan = read_scan(series)
    assert scan.series is not None
    path = tmp_path / "seg.dcm"
    write_seg(label, scan.series, LABELS, path, **MODEL)
    content = pydicom.dcmread(path)
    for holder in holders(content, keyword):
        holder.add_new(keyword, "LO", "GARBAGE")
    content.save_as(path)
    for labels in (None, LABELS):
        with pytest.raises(ScanError) as caught:
            read_seg(path, scan, labels)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_a_segmentation_without_voxels_is_refused_in_one_line(
    keyword: str, series: Path, label: sitk.Image, tmp_path: Path
) -> None:
    path = tmp_path / "seg.dcm"
    write_seg(label, read_scan(series).series, LABELS, path, **MODEL)
    content = pydicom.dcmread(path)
    setattr(content, keyword, 0)
    content.save_as(path)
    with pytest.raises(ScanError, match="a damaged DICOM segmentation"):
        read_seg(path)


def holders(content: Dataset, keyword: str) -> list[Dataset]:
    """The data sets, the whole or items at any depth, that have a sequence."""
    found = [content] if keyword in content else []
    for element in content:
        if element.VR == "SQ":
            for item in element.value:
                found += holders(item, keyword)
    return found


def test_what_cannot_be_written_leaves_nothing(
    series: Path, label: sitk.Image, tmp_path: Path, edit: Edit
) -> None:
    source = read_scan(series).series
    assert source is not None
    uncoded = (LABELS[0], LabelClass(value=2, name="tumour"))
    path = tmp_path / "seg.dcm"
    with pytest.raises(OutputError, match=r"class tumour has no DICOM code\. Add its type to the recipe"):
        write_seg(label, source, uncoded, path, **MODEL)
    with pytest.raises(OutputError, match="cannot be written"):
        write_seg(label, source, LABELS, tmp_path / "missing" / "seg.dcm", **MODEL)
    with pytest.raises(ValueError, match="value 2 has no class"):
        write_seg(label, source, LABELS[:1], path, **MODEL)
    with pytest.raises(ValueError, match="not on the grid"):
        write_seg(label[:, :, 1:], source, LABELS, path, **MODEL)
    edit(series, lambda one, _: delattr(one, "FrameOfReferenceUID"))
    with pytest.raises(OutputError, match="the series has no frame of reference to refer to"):
        write_seg(label, read_scan(series).series, LABELS, path, **MODEL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["series"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_class_has_codes_of_the_standard(name: str) -> None:
    for one in load_recipe(name).labels:
        assert one.type is not None
        for group, code in (
            (codes.cid7150, one.category),
            (codes.cid7151, one.type),
            (codes.cid2, one.modifier),
            (codes.SCT, one.region),
        ):
            if code is not None:
                keyword = code.meaning.title().replace(" ", "")
                known = getattr(
                    group if keyword in dir(group) else codes.SCT, keyword
                )  # the groups are extensible
                assert code.scheme == known.scheme_designator
                assert code.value in (known.value, FORMERLY.get(known.value))


def test_what_nobody_has_decided_has_a_segment_of_its_own(source: DicomSeries, tmp_path: Path) -> None:
    """It is read as the same value, whatever the classes; without it the file has the segments of the classes."""
    grid = source.geometry
    values = grid.zeros(np.uint8)
    values[:, :, 1:] = UNKNOWN
    values[1:3, 1:3, 0] = 2
    write_annotation(grid.place(values), source, LABELS, tmp_path / "part.dcm")
    assert_same(read_seg(tmp_path / "part.dcm", source, LABELS), grid.place(values))
    assert_same(read_seg(tmp_path / "part.dcm", source, LABELS[1:], others=True), grid.place(values))
    segments = pydicom.dcmread(tmp_path / "part.dcm").SegmentSequence
    assert [one.SegmentLabel for one in segments] == ["atrium", "tumour", "unknown"]
    assert segments[2].SegmentedPropertyTypeCodeSequence[0].CodeValue == "261665006"
    values[values == UNKNOWN] = 0
    write_annotation(grid.place(values), source, LABELS, tmp_path / "whole.dcm")
    assert len(pydicom.dcmread(tmp_path / "whole.dcm").SegmentSequence) == 2
