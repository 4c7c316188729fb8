"""A case of several images, whatever they are given as, comes out on the grid of the first."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_forms import describe_series

from diffcl.data.preprocess import prepare
from diffcl.data.sequences import on_grid, read_case
from diffcl.errors import DataError, ScanError, UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.io import Scan, read_scan
from diffcl.io.dicom.series_write import write_series
from diffcl.recipe import Recipe, parse_recipe

SLANT = sitk.Euler3DTransform()
SLANT.SetRotation(0.3, -0.2, 0.4)
MIDDLE = tuple((-29.5 * np.reshape(SLANT.GetMatrix(), (3, 3)).sum(axis=1)).tolist())
FIRST = Geometry((20, 18, 9), (1.5, 1.5, 3.0), (-12.0, -11.0, -10.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
GRIDS = {
    "the same": FIRST,
    "finer": Geometry((60, 60, 60), (0.8, 0.8, 0.8), (-22.0, -22.0, -18.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "oblique": Geometry((60, 60, 60), (1.0, 1.0, 1.0), MIDDLE, SLANT.GetMatrix()),
    "flipped": Geometry((30, 30, 30), (1.6, 1.6, 1.6), (24.0, 24.0, -22.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "sagittal": Geometry((30, 30, 40), (1.6, 1.6, 1.2), (-24.0, -24.0, 22.0), (0, 0, 1, 1, 0, 0, 0, -1, 0)),
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return parse_recipe(
        {
            "name": "organ",
            "labels": [{"value": 1, "name": "organ"}],
            "grid": {"spacing": [1.5, 1.5, 3.0]},
            "sequences": [{"name": "FLAIR"}, {"name": "T1"}, {"name": "CT", "modality": "CT", "required": False,
                           "intensity": {"method": "window", "low": -100, "high": 100}}],
        },
        "test",
    )  # fmt: skip


def slope(grid: Geometry) -> sitk.Image:
    """Values that grow by 1, 2 and 3 a millimetre to the left, back and up: linear interpolation gives them back."""
    at = grid.points(np.moveaxis(np.indices(grid.size), 0, -1))
    return grid.place((at @ [1.0, 2.0, 3.0] + 500).astype(np.float32))


def noise(seed: int, grid: Geometry = FIRST) -> sitk.Image:
    return grid.place(np.random.default_rng(seed).gamma(2, 50, grid.size).astype(np.float32))


def same(one: sitk.Image | None, other: sitk.Image) -> bool:
    assert one is not None
    return Geometry.of(one) == Geometry.of(other) and np.array_equal(voxels(one), voxels(other))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
def test_an_image_is_put_where_it_lies_in_the_patient(grid: Geometry) -> None:
    moved = on_grid(Scan(slope(grid), "t1", Path("t1")), FIRST)
    assert Geometry.of(moved) == FIRST
    inside = grid.indices(FIRST.points(np.moveaxis(np.indices(FIRST.size), 0, -1)))
    shown = ((inside >= 0) & (inside <= np.array(grid.size) - 1)).all(axis=-1)
    assert shown.mean() > 0.9
    assert np.abs(voxels(moved) - voxels(slope(FIRST)))[shown].max() < 0.05


def test_what_an_image_does_not_show_has_its_lowest_value() -> None:
    half = replace(FIRST, size=(10, 18, 9))
    image = half.place(np.random.default_rng(0).uniform(-900, -800, half.size).astype(np.float32))
    moved = voxels(on_grid(Scan(image, "ct", Path("ct")), FIRST))
    assert np.array_equal(moved[:10], voxels(image))
    assert (moved[11:] == voxels(image).min()).all()


def test_images_of_different_places_are_refused(recipe: Recipe) -> None:
    away = replace(FIRST, origin=(500.0, 0.0, 0.0))
    with pytest.raises(
        ScanError, match=r"T1 shows no part of the first sequence\. Give images of one patient"
    ):
        read_case([noise(1), noise(2, away)], recipe.sequences)


def test_an_image_that_shows_little_is_remarked(recipe: Recipe) -> None:
    part = replace(FIRST, size=(5, 18, 9))
    case = read_case([noise(1), noise(2, part)], recipe.sequences)
    assert any("T1 shows" in remark and "% of FLAIR only." in remark for remark in case.remarks)


def forms(folder: Path) -> dict[str, Any]:
    """The same case in every form."""
    images = [noise(number) for number in range(3)]
    for number, image in enumerate(images):
        sitk.WriteImage(image, folder / f"case_000{number}.nii.gz")
    affine = FIRST.affine
    whole = np.stack([voxels(image) for image in images], axis=3)
    nib.save(nib.Nifti1Image(whole, affine), folder / "four.nii.gz")
    return {
        "the first file": folder / "case_0000.nii.gz",
        "without a number": str(folder / "case"),
        "a 4D file": folder / "four.nii.gz",
        "a list": [folder / f"case_000{number}.nii.gz" for number in range(3)],
        "by name": {"T1": images[1], "CT": images[2], "FLAIR": images[0]},
        "a 4D array": (whole, affine),
        "a 4D nibabel image": nib.load(folder / "four.nii.gz"),
        "a 4D SimpleITK image": sitk.JoinSeries(images),
        "a vector image": sitk.Compose(images),
        "scans": [read_scan(image) for image in images],
    }


@pytest.mark.parametrize("form", [
    "the first file", "without a number", "a 4D file", "a list", "by name", "a 4D array", "a 4D nibabel image",
    "a 4D SimpleITK image", "a vector image", "scans",
])  # fmt: skip
def test_every_form_of_a_case_is_the_same_case(form: str, recipe: Recipe, tmp_path: Path) -> None:
    case = read_case(forms(tmp_path)[form], recipe.sequences)
    place = Geometry.of(case.image)
    for number, image in enumerate((case.image, *case.others)):
        assert image is not None
        assert np.array_equal(voxels(image), voxels(noise(number)))
        assert np.abs(place.affine - FIRST.affine).max() < 1e-4
    assert prepare(case, recipe).image.shape[0] == 3
    if form in ("the first file", "without a number"):
        assert case.name == "case"


def test_a_study_is_read_by_the_descriptions_of_its_series(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    for number, text in enumerate(("AX T1", "Ax FLAIR", "scout")):
        whole = FIRST.place(np.rint(voxels(noise(number))).astype(np.float32))
        write_series(whole, tmp_path / "p1" / f"s{number}", name=f"s{number}")
        describe_series(tmp_path / "p1" / f"s{number}", SeriesDescription=text)
    case = read_case(tmp_path / "p1", recipe.sequences)
    assert case.name == "p1"
    assert case.series is not None
    assert np.array_equal(voxels(case.image), np.rint(voxels(noise(1))))
    assert case.others[0] is not None
    assert np.array_equal(voxels(case.others[0]), np.rint(voxels(noise(0))))
    assert case.others[1] is None
    assert any("T1 has another frame of reference than FLAIR" in remark for remark in case.remarks)


@pytest.mark.parametrize("required", [True, False], ids=["required", "optional"])
def test_a_further_sequence_is_not_taken_for_the_first(
    required: bool, recipe: Recipe, tmp_path: Path
) -> None:
    flair, t1, ct = recipe.sequences
    sequences = (flair, t1.model_copy(update={"required": required}), ct)
    sitk.WriteImage(noise(0), tmp_path / "p0_0001.nii.gz")
    with pytest.raises(
        ScanError, match=r"is T1 of p0 by its name, without FLAIR, which the task needs. Give p0_0000"
    ):
        read_case(tmp_path / "p0_0001.nii.gz", sequences)
    sitk.WriteImage(noise(0), tmp_path / "p0_0007.nii.gz")
    with pytest.raises(ScanError, match="without T1") if required else nullcontext():
        read_case(tmp_path / "p0_0007.nii.gz", sequences)


def test_an_absent_sequence_is_empty_and_told(recipe: Recipe) -> None:
    case = read_case({"FLAIR": noise(0), "T1": noise(1)}, recipe.sequences)
    assert case.others[1] is None
    assert "CT is absent, so the label was made without it." in case.remarks
    image = prepare(case, recipe).image
    assert image[0].any()
    assert not image[2].any()


def test_each_sequence_has_its_own_intensities(recipe: Recipe) -> None:
    ct = FIRST.place(np.where(voxels(noise(2)) > 100, 50, -1000).astype(np.float32))
    image = prepare(read_case([noise(0), noise(1), ct], recipe.sequences), recipe).image
    assert {-1.0, 0.5} >= set(np.unique(image[2]).tolist())
    alone = recipe.model_copy(update={"sequences": ()})
    assert np.array_equal(image[1], prepare(read_scan(noise(1)), alone).image[0])


@pytest.mark.parametrize(
    ("given", "error", "what"),
    [
        (["image"], ScanError, "without T1, which the task needs. Give the files of a case as CASE_0000"),
        ([None, "image"], ScanError, "without FLAIR"),
        (["image"] * 4, UsageError, r"4 images: the task takes 3 \(FLAIR, T1, CT\)"),
        ({"T2": "image"}, UsageError, "T2: is no sequence of the task. Known are FLAIR, T1, CT"),
        ("two volumes", ScanError, r"has 2 volumes, and the task takes 3 \(FLAIR, T1, CT\)\. .*points in time"),
        ([], ScanError, "case: without FLAIR, T1"),
    ],
)  # fmt: skip
def test_images_that_are_not_those_of_the_task_are_refused(
    given: Any, error: type[Exception], what: str, recipe: Recipe, tmp_path: Path
) -> None:
    image = noise(0)
    if given == "two volumes":
        nib.save(
            nib.Nifti1Image(np.random.default_rng(0).random((6, 5, 4, 2)), np.eye(4)), tmp_path / "x.nii"
        )
        given = tmp_path / "x.nii"
    elif isinstance(given, list):
        given = [one and image for one in given]
    elif isinstance(given, dict):
        given = dict.fromkeys(given, image)
    with pytest.raises(error, match=what):
        read_case(given, recipe.sequences)


def test_a_task_of_one_sequence_reads_one_image(recipe: Recipe, tmp_path: Path) -> None:
    sitk.WriteImage(noise(0), tmp_path / "a_0000.nii.gz")
    sitk.WriteImage(noise(1), tmp_path / "a_0001.nii.gz")
    assert read_case(tmp_path / "a_0000.nii.gz", ()).name == "a_0000"
    with pytest.raises(UsageError, match="the task takes one sequence"):
        read_case([noise(0), noise(1)], ())
    with pytest.raises(DataError, match=r"one sequence, and organ takes 3 sequences \(FLAIR, T1, CT\)"):
        prepare(read_scan(noise(0)), recipe)
    with pytest.raises(UsageError, match="Leave out which one is meant"):
        read_case(tmp_path / "a_0000.nii.gz", recipe.sequences, series_uid="1.2.3")
