"""A result saves itself in every format, at the place of its scan, whatever form that had."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scan_forms import ALL_GRIDS, forms_of, ras_affine
from synthetic import make_scan as make_organ
from synthetic import publish_untrained
from untrained import GRIDS, make_scan

from diffcl import Result, load_model, predict, read_scan
from diffcl.errors import OutputError, UsageError
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.inference.predictor import Predictor
from diffcl.io import read_label
from diffcl.io.dicom.series_write import write_series
from diffcl.models import Model, ModelRegistry


@pytest.fixture(scope="module")
def wide(model: Model) -> Model:
    """A model that sees a scan at once."""
    recipe = model.info.recipe.changed(grid={"window": [32, 32, 32]})
    return replace(model, info=model.info.model_copy(update={"recipe": recipe}))


@pytest.mark.parametrize("name", list(ALL_GRIDS), ids=list(ALL_GRIDS))
def test_a_label_lies_at_the_same_place_whatever_form_its_scan_had(
    name: str, tmp_path: Path, wide: Model
) -> None:
    grid = ALL_GRIDS[name]
    results = {form: predict(source, wide) for form, source in forms_of(grid, tmp_path).items()}
    first = results["SimpleITK"].label_array()
    assert (first > 0).any()
    for form, result in results.items():
        assert same_grid(Geometry.of(result.label), grid), form
        np.testing.assert_allclose(result.affine, ras_affine(grid), atol=1e-3, err_msg=form)
        assert (result.label_array() == first).mean() > 0.999, form  # a file rounds the place of its voxels


def test_arrays_come_back_in_the_order_in_which_they_were_given(wide: Model) -> None:
    grid = ALL_GRIDS["left-handed"]
    values = voxels(make_scan(grid).image)
    result = predict((values, ras_affine(grid)), wide, probabilities=True)
    assert result.label_array().shape == result.uncertainty_array().shape == values.shape
    assert (result.label_array().dtype, result.uncertainty_array().dtype) == (np.uint8, np.float32)
    assert list(result.probabilities) == list(result.volumes_ml) == ["head", "tail"]
    at = np.argwhere(result.label_array() == 1)[0].tolist()
    assert result.label[at] == 1
    assert 1 / 3 <= result.probabilities["head"][at] <= 1


def test_what_a_result_says_is_what_its_report_says(wide: Model) -> None:
    result = predict(make_scan(GRIDS["straight"]), wide)
    assert (result.doubt, result.volumes_ml) == (result.report.doubt, result.report.volumes_ml)
    assert result.warnings == result.report.warnings
    assert result.probabilities == {}
    expected = Predictor(wide)(make_scan(GRIDS["straight"]))
    assert np.array_equal(result.label_array(), voxels(expected.label))


@pytest.fixture
def organ(tmp_path: Path) -> Model:
    """A model whose classes have DICOM codes."""
    publish_untrained(ModelRegistry(tmp_path / "store"))
    return load_model("organ", store=tmp_path / "store")


@pytest.fixture
def of_series(tmp_path: Path, organ: Model) -> Result:
    write_series(make_organ("oblique"), tmp_path / "series")
    return predict(tmp_path / "series", organ, probabilities=True)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_images_are_saved_on_the_grid_of_the_scan(wide: Model, tmp_path: Path, suffix: str) -> None:
    result = predict(make_scan(GRIDS["oblique, anisotropic, odd"]), wide)
    files = tmp_path / "new" / f"label{suffix}", tmp_path / f"uncertainty{suffix}"
    assert result.save(str(files[0]), uncertainty=files[1]) == list(files)
    label, uncertainty = read_label(files[0]), sitk.ReadImage(files[1])
    assert np.array_equal(voxels(label), result.label_array())
    assert np.array_equal(voxels(uncertainty), result.uncertainty_array())
    assert same_grid(Geometry.of(label), Geometry.of(result.scan.image))


def test_a_series_gets_what_an_archive_keeps(of_series: Result, tmp_path: Path) -> None:
    files = of_series.save(
        tmp_path / "seg.dcm", report=tmp_path / "sr.dcm", probabilities=tmp_path / "likely.dcm"
    )
    seg, report, likely = (pydicom.dcmread(file) for file in files)
    assert (seg.SegmentationType, likely.SegmentationType, report.Modality) == ("BINARY", "FRACTIONAL", "SR")
    assert str(seg.SOPInstanceUID) in str(report)
    label = read_label(files[0], reference=of_series.scan, labels=of_series.model.recipe.labels)
    assert np.array_equal(voxels(label), of_series.label_array())


def test_a_report_and_a_picture_need_no_label(wide: Model, tmp_path: Path) -> None:
    result = predict(make_scan(GRIDS["straight"]), wide)
    report, picture = result.save(report=tmp_path / "report.json", picture=tmp_path / "look.png")
    assert json.loads(report.read_text())["volumes_ml"] == result.volumes_ml
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_folder_holds_files_named_like_the_scan(wide: Model, tmp_path: Path) -> None:
    image = make_scan(GRIDS["straight"]).image
    sitk.WriteImage(image, tmp_path / "p07.nrrd")
    assert predict(tmp_path / "p07.nrrd", wide).save(tmp_path / "labels") == [
        tmp_path / "labels" / "p07.nrrd"
    ]
    assert predict(read_scan(image, name="p08"), wide).save(tmp_path / "labels") == [
        tmp_path / "labels" / "p08.nii.gz"
    ]


def test_what_cannot_be_saved_is_said_in_one_line(
    wide: Model, tmp_path: Path, of_series: Result, organ: Model
) -> None:
    result = predict(make_scan(GRIDS["straight"]), wide)
    with pytest.raises(OutputError, match="needs a DICOM series as its scan"):
        result.save(tmp_path / "seg.dcm")
    with pytest.raises(UsageError, match="no file is named"):
        result.save()
    with pytest.raises(UsageError, match=r"look\.jpg: cannot hold the picture"):
        result.save(picture=tmp_path / "look.jpg")
    with pytest.raises(UsageError, match="a structured report refers to a DICOM segmentation"):
        of_series.save(report=tmp_path / "sr.dcm")
    with pytest.raises(UsageError, match="would lie among the images of a scan"):
        of_series.save(of_series.scan.path / "seg.dcm")
    plain = Result(of_series.scan, of_series.model, predict(of_series.scan, organ).prediction)
    with pytest.raises(UsageError, match="Predict with probabilities=True"):
        plain.save(probabilities=tmp_path / "likely.dcm")
    assert not list(tmp_path.glob("*.dcm"))
