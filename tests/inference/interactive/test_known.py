"""What a partly drawn label decides is said, and what it cannot decide is refused."""

from __future__ import annotations

import numpy as np
import pytest
from untrained import GRIDS

from diffcl.errors import DataError, UsageError
from diffcl.geometry import Geometry
from diffcl.inference.interactive.known import decided, drawn_slices, read_known
from diffcl.recipe import Recipe

GRID = GRIDS["straight"]


def drawn(*planes: tuple[int, int]) -> np.ndarray:
    """A square of class 1 in slices `(axis, index)`."""
    label = np.zeros(GRID.size, np.uint8)
    for axis, index in planes:
        np.moveaxis(label, axis, 0)[index, 4:12, 5:13] = 1
    return label


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_drawn_slices_are_found_in_every_plane(axis: int) -> None:
    assert drawn_slices(drawn((axis, 3), (axis, 8), (axis, 12))) == {axis: (3, 8, 12)}


def test_slices_side_by_side_are_slices_of_their_own_plane() -> None:
    assert drawn_slices(drawn((2, 6), (2, 7), (2, 8))) == {2: (6, 7, 8)}


def test_slices_of_two_planes_are_told_apart() -> None:
    known = read_known(GRID.place(drawn((2, 6), (2, 10), (0, 8))), GRID, "label")
    assert known.slices == {0: (8,), 2: (6, 10)}
    assert known.told == "Known are 1 sagittal slice (8) and 2 axial slices (6, 10), background included"
    assert known.mask[:, :, 6].all()
    assert known.mask[8].all()
    assert known.mask.sum() == 24 * 20 * 2 + 20 * 18 - 2 * 20


def test_the_drawn_voxels_alone_are_known_on_request() -> None:
    label = drawn((2, 6))
    known = read_known(GRID.place(label), GRID, "label", meaning="voxels")
    assert (known.mask == (label > 0)).all()
    assert not known.slices


def test_the_value_of_unknown_voxels_says_what_is_known() -> None:
    label = drawn((2, 6))
    label[:, :, 8:] = 255
    known = read_known(GRID.place(label), GRID, "label")
    assert (known.mask == (label != 255)).all()
    assert known.slices[2] == tuple(range(8))
    assert "marked as unknown" in known.told


def test_a_label_without_unknown_voxels_is_whole() -> None:
    known = read_known(GRID.place(drawn((2, 6))), GRID, "label", meaning="marked")
    assert known.mask.all()
    assert known.warnings == ("Nothing is unknown: the label is as it was drawn.",)


def test_slices_that_disagree_where_they_cross_are_told() -> None:
    label = drawn((2, 6), (2, 10), (0, 8))
    label[8, 5:13, 6] = 0
    known = read_known(GRID.place(label), GRID, "label")
    assert "Slices of two planes disagree in" in known.warnings[0]
    assert not read_known(GRID.place(drawn((2, 6), (2, 10))), GRID, "label").warnings


@pytest.mark.parametrize(
    ("label", "meaning", "said"),
    [
        (np.zeros(GRID.size, np.uint8), None, "nothing is drawn"),
        (np.full(GRID.size, 255, np.uint8), None, "all of it is unknown"),
        (drawn((2, 6)) * 7, None, "value 7 is not a class of organ"),
    ],
    ids=["empty", "all unknown", "unknown value"],
)
def test_what_decides_nothing_is_refused(label: np.ndarray, meaning: None, said: str, recipe: Recipe) -> None:
    with pytest.raises(DataError, match=said):
        read_known(GRID.place(label), GRID, "label", recipe=recipe, meaning=meaning)


def test_a_label_on_another_grid_is_refused() -> None:
    other = Geometry((24, 20, 18), (1.0, 1.0, 1.5), GRID.origin, GRID.direction)
    with pytest.raises(DataError, match="lies on another grid than its scan"):
        read_known(other.place(drawn((2, 6))), GRID, "label")


def test_an_unknown_meaning_is_refused() -> None:
    label = drawn((2, 6))
    with pytest.raises(UsageError, match="slices, voxels, marked"):
        decided(label, label > 9, "all", "label", GRID)  # type: ignore[arg-type]
