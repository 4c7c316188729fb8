from __future__ import annotations

from math import inf

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy.spatial.transform import Rotation

from diffcl.errors import DataError
from diffcl.evaluation.metrics import dice, evaluate_case, surface_distances
from diffcl.geometry import Geometry
from diffcl.labels import LabelClass

CLASSES = (LabelClass(value=1, name="cube"), LabelClass(value=2, name="rod"))
SLANTED = tuple(Rotation.from_euler("xyz", [20, -35, 10], degrees=True).as_matrix().ravel())
GRID = Geometry((30, 25, 21), (0.7, 1.1, 2.5), (12.0, -34.5, 7.0), SLANTED)


def label(*boxes: tuple[int, slice, slice, slice], grid: Geometry = GRID) -> sitk.Image:
    """A label map of boxes on a slanted grid of uneven voxels."""
    array = np.zeros(grid.size, np.uint8)
    for value, *where in boxes:
        array[tuple(where)] = value
    return grid.place(array)


def cube(start: int) -> tuple[int, slice, slice, slice]:
    return 1, slice(start, start + 10), slice(5, 15), slice(5, 15)


def test_equal_labels_agree_fully() -> None:
    both = label(cube(3), (2, slice(20, 22), slice(0, 20), slice(3, 4)))
    for score in evaluate_case(both, both, CLASSES):
        assert (score.dice, score.jaccard, score.hd95, score.asd) == (1, 1, 0, 0)


def test_a_cube_moved_by_two_voxels_scores_what_geometry_says() -> None:
    score = evaluate_case(label(cube(3)), label(cube(5)), CLASSES)[0]
    assert score.dice == pytest.approx(2 * 800 / 2000)
    assert score.jaccard == pytest.approx(800 / 1200)
    assert score.hd95 == pytest.approx(2 * 0.7)  # its two end faces lie 2 voxels of 0.7 mm away, 40 % of them


def test_parallel_plates_lie_as_far_apart_as_their_spacing_says() -> None:
    one = (1, slice(0, 30), slice(0, 25), slice(4, 5))
    other = (1, slice(0, 30), slice(0, 25), slice(8, 9))
    score = evaluate_case(label(one), label(other), CLASSES)[0]
    assert (score.hd95, score.asd) == pytest.approx((4 * 2.5, 4 * 2.5))
    assert score.dice == 0


def test_a_class_in_neither_label_agrees() -> None:
    rod = evaluate_case(label(cube(3)), label(cube(4)), CLASSES)[1]
    assert (rod.name, rod.dice, rod.jaccard, rod.hd95, rod.asd) == ("rod", 1, 1, 0, 0)


@pytest.mark.parametrize("swapped", [False, True], ids=["missed", "invented"])
def test_a_class_in_one_label_only_is_infinitely_far(swapped: bool) -> None:
    pair = [label(), label(cube(3))]
    score = evaluate_case(*(pair[::-1] if swapped else pair), CLASSES)[0]
    assert (score.dice, score.jaccard, score.hd95, score.asd) == (0, 0, inf, inf)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_monai(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.random((2, 13, 9, 11)) < [[[[0.2]]], [[[0.05]]]]).astype(bool)
    spacing = (0.5, 1.3, 2.1)
    got = surface_distances(one, other, spacing)
    pair = [torch.from_numpy(mask)[None, None] for mask in (one, other)]
    hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
    asd = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=spacing)
    assert got == pytest.approx((hd95.item(), asd.item()), rel=1e-5)


def test_distances_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(7)
    one, other = rng.random((2, 6, 7, 5)) < 0.3
    spacing = np.array([0.5, 1.3, 2.1])

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        shifts = [np.roll(padded, step, axis) for axis in range(3) for step in (-1, 1)]
        return np.argwhere(padded & ~np.logical_and.reduce(shifts)) * spacing

    apart = np.linalg.norm(surface(one)[:, None] - surface(other)[None], axis=-1)
    ways = apart.min(axis=1), apart.min(axis=0)
    hd95, asd = surface_distances(one, other, tuple(spacing))
    assert hd95 == pytest.approx(max(np.percentile(way, 95) for way in ways), rel=1e-5)
    assert asd == pytest.approx(np.concatenate(ways).mean(), rel=1e-5)


def test_dice_of_two_empty_masks_is_one() -> None:
    assert dice(np.zeros(5, bool), np.zeros(5, bool)) == 1


@pytest.mark.parametrize(
    "other",
    [
        Geometry((30, 25, 20), GRID.spacing, GRID.origin, SLANTED),
        Geometry(GRID.size, (0.7, 1.1, 2.4), GRID.origin, SLANTED),
        Geometry(GRID.size, GRID.spacing, (12.0, -34.5, 8.0), SLANTED),
        Geometry(GRID.size, GRID.spacing, GRID.origin, (1.0, 0, 0, 0, 1, 0, 0, 0, 1)),
    ],
    ids=["size", "spacing", "origin", "direction"],
)
def test_labels_on_different_grids_are_refused(other: Geometry) -> None:
    with pytest.raises(
        DataError, match=r"^p07: lies on another grid than its label: .* Compare labels of the same"
    ):
        evaluate_case(label(), label(grid=other), CLASSES, where="p07")
