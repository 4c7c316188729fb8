"""Preparing scans, the way back, and the cache."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from diffcl.data.cache import prepare_case
from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.data.preprocess import normalise, prepare, prepare_label, to_classes
from diffcl.data.resample import interpolate, smooth
from diffcl.data.traits import traits
from diffcl.errors import DataError, ScanError
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io import Scan, read_scan
from diffcl.recipe import Intensity, Recipe, parse_recipe

SLANT = sitk.Euler3DTransform()
SLANT.SetRotation(0.2, 0.3, -0.1)
GRID = Geometry((22, 17, 13), (0.9, 1.2, 2.1), (-12.0, 30.0, 5.0), SLANT.GetMatrix())


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe(
        {
            "name": "tumour",
            "labels": [{"value": 1, "name": "tumour", "sources": [1, 2, 4]}],
            "grid": {"spacing": [1.0, 1.0, 1.0]},
        },
        "test",
    )


def scan(values: np.ndarray) -> Scan:  # type: ignore[type-arg]
    return Scan(GRID.place(values.astype(np.float32)), "a", Path("a.nii.gz"))


def ball() -> np.ndarray:  # type: ignore[type-arg]
    """A ball of 6 mm radius about the middle of the grid."""
    steps = (np.indices(GRID.size).T - (np.array(GRID.size) - 1) / 2) * np.array(GRID.spacing)
    return np.asarray(np.linalg.norm(steps, axis=-1).T < 6)


def test_a_prepared_scan_has_the_recipes_spacing_and_values_of_about_one(recipe: Recipe) -> None:
    prepared = prepare(scan(np.random.default_rng(0).gamma(2, 300, GRID.size)), recipe)
    assert prepared.working.spacing == (1.0, 1.0, 1.0)
    assert prepared.image.shape == (1, *prepared.working.size)
    assert prepared.image.dtype == torch.float32
    assert float(prepared.image.min()) == -1
    assert float(prepared.image.max()) == 1


def test_probabilities_come_back_to_the_scans_grid_and_sum_to_one(recipe: Recipe) -> None:
    prepared = prepare(scan(np.random.default_rng(0).normal(size=GRID.size)), recipe)
    truth = prepare_label(GRID.place(ball().astype(np.uint8)), GRID, recipe, "a")
    probabilities = torch.stack([truth == 0, truth == 1]).float()
    back = prepared.restore(probabilities)
    assert back.shape == (2, *GRID.size)
    np.testing.assert_allclose(back.sum(axis=0), 1, atol=1e-6)
    found = back.argmax(axis=0) == 1
    overlap = 2 * (found & ball()).sum() / (found.sum() + ball().sum())
    assert overlap > 0.93


def test_a_working_grid_beyond_the_limit_is_refused_before_it_is_made(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.data.preprocess.LARGEST_VOXELS", 1000)
    with pytest.raises(DataError, match=r"would have 20 x 21 x 28 voxels of 1 x 1 x 1 mm, more than 1000"):
        prepare(scan(np.random.default_rng(0).normal(size=GRID.size)), recipe)


TURNED = tuple(np.diag([-1.0, 1.0, -1.0])[[2, 0, 1]].ravel())


@pytest.mark.parametrize("grid", [
    GRID,
    Geometry((31, 17, 40), (0.5, 0.7, 0.4), (3.0, -20.0, 7.0), TURNED),
    Geometry((12, 11, 9), (2.6, 2.5, 3.1), (3.0, -20.0, 7.0), TURNED),
])  # fmt: skip
@pytest.mark.parametrize("place", [(0, 0, 0), (5, 4, 6), (-1, -1, -1)])
def test_parts_hold_all_that_is_not_surely_background(
    recipe: Recipe, grid: Geometry, place: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.data.restore._SLAB_VOXELS", 300)
    prepared = prepare(
        Scan(grid.place(np.random.default_rng(0).normal(size=grid.size)), "a", Path("a")), recipe
    )
    foreground = torch.full(prepared.working.size, 1e-5)
    x, y, z = (slice(at, at + 4) if at >= 0 else slice(at - 3, None) for at in place)
    foreground[x, y, z] = 0.9
    probabilities = torch.stack([1 - foreground, foreground])
    whole = prepared.restore(probabilities)
    boxed = np.zeros_like(whole)
    boxed[0] = 1
    for where, part in prepared.parts(probabilities, 1e-4):
        for channel, found in zip(boxed, part, strict=True):
            channel[where] = found
    assert whole[1].max() > 0.1
    np.testing.assert_allclose(boxed, whole, atol=2e-5 if min(grid.spacing) < 1 else 1e-3)
    smoothed = smooth(prepared.working.place(foreground.numpy()), (min(grid.spacing),) * 3)
    direct = voxels(interpolate(smoothed, grid))
    np.testing.assert_allclose(whole[1], direct, atol=1e-6)
    outside = np.ones(grid.size, bool)
    for where, _ in prepared.parts(probabilities, 1e-4):
        outside[where] = False
    assert outside.any()
    assert list(prepared.parts(probabilities, 0.95)) == []


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_a_change_of_unit_changes_nothing(method: str) -> None:
    values = torch.from_numpy(np.random.default_rng(0).gamma(2, 1, (8, 8, 8)).astype(np.float32))
    settings = Intensity(method=method)  # type: ignore[arg-type]
    torch.testing.assert_close(normalise(values * 700, settings), normalise(values, settings))


def test_background_zeros_do_not_count(recipe: Recipe) -> None:
    values = torch.linspace(100, 200, 1000).reshape(10, 10, 10)
    padded = torch.zeros(40, 10, 10)
    padded[:10] = values
    torch.testing.assert_close(normalise(padded, recipe.intensity)[:10], normalise(values, recipe.intensity))


def test_source_values_become_the_class(recipe: Recipe) -> None:
    label = np.zeros(GRID.size, np.uint8)
    label[1, 1, 1], label[2, 2, 2], label[3, 3, 3] = 1, 2, 4
    classes = voxels(to_classes(GRID.place(label), GRID, recipe, "a"))
    assert np.unique(classes).tolist() == [0, 1]
    assert (classes > 0).sum() == 3


def test_an_unknown_value_is_named(recipe: Recipe) -> None:
    with pytest.raises(DataError, match=r"p03\.nii\.gz: value 7 is not a class of tumour \(0, 1, 2, 4\)"):
        to_classes(GRID.place(np.full(GRID.size, 7, np.uint8)), GRID, recipe, "p03.nii.gz")


def test_a_label_of_another_grid_is_refused(recipe: Recipe) -> None:
    shifted = Geometry(GRID.size, GRID.spacing, (-12.0, 30.0, 5.9), GRID.direction)
    with pytest.raises(DataError, match="Save it on the scan's grid"):
        to_classes(shifted.place(ball().astype(np.uint8)), GRID, recipe, "a")


def test_grids_are_the_same_up_to_what_formats_round() -> None:
    rounded = Geometry(GRID.size, (0.9000001, 1.2, 2.1), (-12.000001, 30.0, 5.0), GRID.direction)
    turned = Geometry(GRID.size, GRID.spacing, GRID.origin, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    assert same_grid(GRID, rounded)
    assert not same_grid(GRID, turned)


@pytest.fixture
def case(tmp_path: Path) -> LabelledCase:
    image, label = tmp_path / "a.nii.gz", tmp_path / "a-label.nii.gz"
    sitk.WriteImage(GRID.place(np.random.default_rng(0).normal(size=GRID.size).astype(np.float32)), image)
    sitk.WriteImage(GRID.place(ball().astype(np.uint8)), label)
    return LabelledCase("a", image, label)


def test_the_cache_gives_what_preparing_gives(case: LabelledCase, recipe: Recipe, tmp_path: Path) -> None:
    first, second = (prepare_case(case, recipe, tmp_path / "cache") for _ in range(2))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert torch.equal(first.image, second.image)
    assert first.label is not None
    assert second.label is not None
    assert torch.equal(first.label, second.label)


def test_changed_content_or_settings_are_prepared_anew(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    prepare_case(case, recipe, cache)
    prepare_case(case, recipe.changed(grid={"spacing": [1.0, 1.0, 2.0]}), cache)
    sitk.WriteImage(GRID.place(np.zeros(GRID.size, np.uint8)), case.label)
    assert int(prepare_case(case, recipe, cache).label.sum()) == 0  # type: ignore[union-attr]
    assert len(list(cache.iterdir())) == 3


def test_a_class_that_the_working_grid_has_no_voxel_of_is_not_taken_for_absent(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    label = sitk.ReadImage(case.label)
    values = sitk.GetArrayFromImage(label)
    values[...] = 0
    values[1, 1, 1] = 1
    lonely = sitk.GetImageFromArray(values)
    lonely.CopyInformation(label)
    sitk.WriteImage(lonely, tmp_path / "label.nii.gz")
    coarse = recipe.changed(grid={"spacing": [4.0, 4.0, 4.0]})
    small = replace(case, label=tmp_path / "label.nii.gz")
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        found = prepare_case(small, coarse, cache)
        assert found.lost == found.unknown == (1,)
        assert not found.whole


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
def test_changed_voxels_beside_a_header_are_prepared_anew(
    ending: str, recipe: Recipe, tmp_path: Path
) -> None:
    case = UnlabelledCase("a", tmp_path / f"a.{ending}")
    values = np.random.default_rng(0).normal(size=GRID.size).astype(np.float32)
    headers, found = [], []
    for sign in (1, -1):
        sitk.WriteImage(GRID.place(sign * values), case.image)
        headers.append(case.image.read_bytes())
        found.append(prepare_case(case, recipe, tmp_path / "cache").image)
    assert headers[0] == headers[1]
    assert torch.allclose(found[0], -found[1], atol=1e-5)


def test_a_scan_in_another_unit_than_its_window_is_refused(case: LabelledCase, recipe: Recipe) -> None:
    ct = recipe.changed(intensity={"method": "window", "low": -125.0, "high": 275.0})
    with pytest.raises(DataError, match=r"would show nothing. Give the scan in Hounsfield units"):
        prepare_case(UnlabelledCase("a", case.image), ct)
    sitk.WriteImage(sitk.ReadImage(case.image) * 100, case.image)
    assert prepare_case(UnlabelledCase("a", case.image), ct).image.std() > 0.1


def test_training_settings_do_not_change_what_is_cached(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    prepare_case(case, recipe, tmp_path / "cache")
    prepare_case(case, recipe.changed(training={"seed": 5}), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_unlabelled_case_is_prepared_without_a_label(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    unlabelled = UnlabelledCase("a", case.image)
    for _ in range(2):
        assert prepare_case(unlabelled, recipe, tmp_path / "cache").label is None


def test_a_cached_case_is_mapped_and_keeps_what_the_scan_is_like(
    case: LabelledCase, recipe: Recipe, tmp_path: Path
) -> None:
    alone = prepare_case(case, recipe)
    for _ in range(2):
        kept = prepare_case(case, recipe, tmp_path / "cache")
        assert kept.traits == alone.traits == traits(prepare(read_scan(case.image), recipe))
        assert kept.label is not None
        assert (kept.image.dtype, kept.label.dtype) == (torch.float32, torch.uint8)
    shutil.rmtree(tmp_path / "cache")
    assert torch.equal(kept.image, alone.image)


def test_a_damaged_entry_is_made_anew(case: LabelledCase, recipe: Recipe, tmp_path: Path) -> None:
    first = prepare_case(case, recipe, tmp_path / "cache")
    [image] = (tmp_path / "cache").rglob("image.npy")
    image.write_bytes(image.read_bytes()[:-8])
    again = prepare_case(case, recipe, tmp_path / "cache")
    assert torch.equal(again.image, prepare_case(case, recipe).image)
    assert first.image.shape == again.image.shape


def test_an_unreadable_scan_leaves_nothing_in_the_cache(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    with pytest.raises(ScanError):
        prepare_case(UnlabelledCase("a", tmp_path / "a.nii.gz"), recipe, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
