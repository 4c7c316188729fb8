"""What is measured of scans and labels is what a person would measure."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.errors import DataError
from diffcl.geometry import Geometry
from diffcl.planning import survey as module
from diffcl.planning.survey import FEWEST, LABELLED, survey
from diffcl.recipe import Recipe, parse_recipe

# Voxel axes of the file: foot-head, right-left, front-back; oblique by 10 degrees about the last.
COS, SIN = math.cos(math.radians(10)), math.sin(math.radians(10))
DIRECTION = (0.0, COS, SIN, 0.0, -SIN, COS, 1.0, 0.0, 0.0)
GRID = Geometry((10, 40, 50), (8.0, 1.0, 1.5), (5.0, -7.0, 11.0), DIRECTION)


@pytest.fixture
def recipe() -> Recipe:
    labels = [{"value": 1, "name": "slab"}, {"value": 2, "name": "pieces"}, {"value": 3, "name": "nowhere"}]
    return parse_recipe({"name": "organ", "labels": labels}, "test")


@pytest.fixture
def case(tmp_path: Path) -> LabelledCase:
    label = np.zeros(GRID.size, np.uint8)
    label[2:8, 4:8, 5:45] = 1
    label[2, 20:30, 10:20], label[6, 20, 10] = 2, 2
    values = np.where(label == 1, 100.0, -1000.0) + np.where(label == 2, 1040.0, 0.0)
    for name, array in (("scan", values.astype(np.float32)), ("label", label)):
        sitk.WriteImage(GRID.place(array), tmp_path / f"{name}.nii.gz")
    return LabelledCase("scan", tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz")


def test_scans_and_classes_are_measured_along_the_axes_of_the_patient(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        (scan,) = survey([case], [], recipe, cache).labelled
        assert scan.spacing == pytest.approx((1.0, 1.5, 8.0), abs=1e-4)
        assert scan.extent == pytest.approx((40.0, 75.0, 80.0), abs=1e-3)
        assert (scan.lowest, scan.kind) == (-1000, "CT")
        assert scan.tissue == pytest.approx((40.0, 100.0))
        assert scan.classes is not None
        assert set(scan.classes) == {1, 2}
        slab, pieces = scan.classes[1], scan.classes[2]
        assert slab.size == pytest.approx((4.0, 60.0, 48.0), abs=1e-3)
        assert slab.volume_ml == pytest.approx(4 * 60 * 48 / 1000, rel=1e-4)
        surface = 2 * (4 * 60 + 4 * 48 + 60 * 48)
        assert slab.thickness == pytest.approx(3 * 4 * 60 * 48 / surface, rel=1e-4)
        assert (slab.largest, pieces.largest) == (1.0, pytest.approx(100 / 101))
        assert np.abs(slab.centre) == pytest.approx((14.0, 0.0, 0.0), abs=0.6)


def test_what_was_measured_is_not_read_again(
    case: LabelledCase, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = survey([case], [], recipe, tmp_path / "cache")
    monkeypatch.setattr("diffcl.planning.survey.read_case", None)
    assert survey([case], [], recipe, tmp_path / "cache") == first


def test_of_many_scans_some_are_looked_at_and_no_unlabelled_one_for_its_label(
    case: LabelledCase, recipe: Recipe
) -> None:
    found = survey([case] * (LABELLED + 9), [UnlabelledCase("other", case.image)], recipe)
    assert len(found.labelled) == LABELLED
    assert [scan.classes for scan in found.unlabelled] == [None]


def test_of_many_large_scans_fewer_are_looked_at(
    case: LabelledCase, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = case.image.stat().st_size
    others = [UnlabelledCase("other", case.image)] * 9
    for most, labelled, unlabelled in ((9 * size, 9, 2), (size, FEWEST, 1)):
        monkeypatch.setattr("diffcl.planning.survey.ENOUGH_BYTES", most)
        found = survey([case] * LABELLED, others, recipe)
        assert (len(found.labelled), len(found.unlabelled)) == (labelled, unlabelled)


def test_a_scan_that_consists_of_slices_is_read_once(
    case: LabelledCase, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = module.read_case, []
    monkeypatch.setattr(module, "read_case", lambda *given: (seen.append(given), read(*given))[1])
    assert survey([case], [], recipe).slices is not None
    assert len(seen) == 1


def test_a_scan_that_cannot_be_read_is_passed_over(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    broken = LabelledCase("broken", tmp_path / "none.nii.gz", case.label)
    found = survey([broken, case], [UnlabelledCase("gone", broken.image)], recipe)
    assert [scan.name for scan in found.labelled] == ["scan"]
    assert len(found.passed_over) == 2
    assert all("none.nii.gz" in reason for reason in found.passed_over)


def test_where_no_labelled_scan_can_be_used_the_reason_is_told(case: LabelledCase, recipe: Recipe) -> None:
    other = LabelledCase("other", case.image.with_name("other.nii.gz"), case.label)
    sitk.WriteImage(sitk.Image(8, 8, 1, sitk.sitkInt16), other.image)
    assert survey([other, case], [], recipe).labelled
    with pytest.raises(DataError, match="other"):
        survey([other], [UnlabelledCase("scan", case.image)], recipe)
