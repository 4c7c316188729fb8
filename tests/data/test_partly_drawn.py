from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from trainable import organ

from diffcl.data.cache import prepare_case
from diffcl.data.cases import LabelledCase
from diffcl.data.partly_drawn import drawn_in_words, widened, with_gaps
from diffcl.data.preprocess import prepare_label, to_classes
from diffcl.errors import DataError
from diffcl.evaluation.report import evaluate_folder
from diffcl.geometry import Geometry, voxels
from diffcl.labels import UNKNOWN
from diffcl.planning.choices import choose
from diffcl.planning.survey import survey
from diffcl.recipe import Recipe
from diffcl.training.validation import read_validation


def partly(label: sitk.Image, *slices: int) -> sitk.Image:
    """A label of which slices across the last axis are known and the rest is not."""
    values = np.full_like(voxels(label), UNKNOWN)
    values[..., list(slices)] = voxels(label)[..., list(slices)]
    return Geometry.of(label).place(values)


@pytest.mark.parametrize(("axis", "plane"), [(0, "sagittal"), (1, "coronal"), (2, "axial")])
def test_a_label_of_single_slices_shows_gaps_and_no_other_does(axis: int, plane: str) -> None:
    _, image = organ(1)
    whole, grid = voxels(image), Geometry.of(image)
    drawn = np.flatnonzero(whole.any(axis=tuple(other for other in range(3) if other != axis)))
    single = whole.copy()
    np.moveaxis(single, axis, 0)[drawn[1::2]] = 0
    kept = drawn[::2]
    assert with_gaps(single, grid) == f"{len(kept)} of {kept[-1] - kept[0] + 1} {plane} slices"
    np.moveaxis(single, axis, 0)[kept[1]] = 0  # fewer slices, and farther apart
    assert bool(with_gaps(single, grid)) == (len(kept) > 3)
    two_pieces = whole.copy()
    np.moveaxis(two_pieces, axis, 0)[drawn[2]] = 0
    for label in (whole, two_pieces, np.zeros_like(whole), voxels(partly(image, 4, 6, 8))):
        assert with_gaps(label, grid) == ""


@pytest.fixture
def case(tmp_path: Path) -> LabelledCase:
    """A scan of which two slices are drawn."""
    scan, label = organ(1)
    sitk.WriteImage(scan, tmp_path / "scan.nii.gz")
    sitk.WriteImage(partly(label, 4, 6), tmp_path / "label.nii.gz")
    return LabelledCase("one", tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz")


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (2.0, 2.0, 2.6), (2.0, 2.0, 6.5)])
def test_a_lone_slice_is_known_on_every_grid(spacing: tuple[float, float, float], recipe: Recipe) -> None:
    _, label = organ(0)
    grid, recipe = Geometry.of(label), recipe.changed(grid={"spacing": spacing})
    whole = prepare_label(label, grid, recipe, "label").numpy()
    part = prepare_label(partly(label, 5), grid, recipe, "label").numpy()
    known = part != UNKNOWN
    assert 0.5 / grid.size[2] < known.mean() < 3 / part.shape[2]
    assert (part[known] == whole[known]).mean() > 0.9
    assert (part == 1).any()
    assert (part == 2).any()


@pytest.mark.parametrize("step", [0.4, 1.0, 1.05, 1.3, 1.9, 2.0, 2.5, 3.0, 4.7])
def test_a_coarser_grid_meets_every_drawn_slice(step: float) -> None:
    for drawn in range(10, 20):
        label = np.full((3, 3, 30), UNKNOWN, np.uint8)
        label[..., drawn] = 1
        wide = widened(label, (1.0, 1.0, step))
        assert (wide[..., drawn] == 1).all()
        for start in np.arange(0, 3, 0.1):
            samples = np.floor(np.arange(start, 29, step) + 0.5).astype(int)  # the nearest voxels
            assert (wide[0, 0, samples] == 1).sum() >= 1
        assert (wide[0, 0] == 1).sum() == max(1, np.ceil(step))


def test_a_prepared_scan_says_how_much_is_drawn(case: LabelledCase, recipe: Recipe, tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        scan = prepare_case(case, recipe, cache)
        assert scan.drawn == "drawn on 2 of 12 axial slices"
        assert not scan.whole
        assert "drawn" not in scan.traits


def test_a_partly_drawn_label_cannot_validate(case: LabelledCase, recipe: Recipe, tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(
            DataError, match=r"drawn on 2 of 12 axial slices, so it cannot validate\. Finish it"
        ):
            read_validation(case, recipe, cache)


def test_a_label_of_nothing_but_unknown_voxels_is_refused_and_a_class_of_that_value_is_not(
    recipe: Recipe,
) -> None:
    _, label = organ(0)
    grid = Geometry.of(label)
    mask = grid.place(np.where(voxels(label) > 0, UNKNOWN, 0).astype(np.uint8))
    with pytest.raises(DataError, match="holds no value but 255, which is unknown"):
        to_classes(mask, grid, recipe, "label", partly=True)
    with pytest.raises(DataError, match="value 255 is not a class of organ"):
        to_classes(mask, grid, recipe, "label")
    first = recipe.labels[0].model_copy(update={"sources": (255,)})
    one = recipe.model_copy(update={"labels": (first, recipe.labels[1])})
    assert (voxels(to_classes(mask, grid, one, "label", partly=True)) > 0).sum() == (voxels(label) > 0).sum()


def test_where_slices_are_drawn_in_two_planes_both_are_told() -> None:
    _, label = organ(0)
    values = np.full_like(voxels(label), UNKNOWN)
    values[..., [2, 7]] = 0
    values[:, 9] = 0
    told = drawn_in_words(values, Geometry.of(label))
    assert told == "drawn on 1 of 18 coronal and 2 of 11 axial slices"


def test_a_plan_takes_a_partly_drawn_structure_for_about_as_thick_as_it_is(
    case: LabelledCase, recipe: Recipe
) -> None:
    """It says that this is a guess, and does without it where there is a label that is whole."""
    whole = LabelledCase("whole", case.image, case.label.with_name("whole.nii.gz"))
    sitk.WriteImage(organ(1)[1], whole.label)
    (part,), (all_of_it,) = (survey([one], [], recipe).of_class(1) for one in (case, whole))
    assert part.thickness == pytest.approx(all_of_it.thickness, rel=0.3)
    assert survey([case, whole], [], recipe).of_class(1) == [all_of_it]
    open_ = Recipe(name="organ", labels=recipe.labels)
    told = "That of head, tail is guessed: no label of it is drawn as a whole."
    for cases, guessed in (([case], True), ([case, whole], False)):
        _, choices = choose(open_, survey(cases, [], recipe))
        assert any(told in choice.reason for choice in choices) is guessed


def test_nothing_is_judged_by_a_partly_drawn_label(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    sitk.WriteImage(organ(1)[1], tmp_path / "found.nii.gz")
    with pytest.raises(DataError, match="drawn on 2 of 12 axial slices, so nothing can be judged by it"):
        evaluate_folder(tmp_path / "found.nii.gz", case.label, recipe)
