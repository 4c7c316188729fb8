"""Outlines between drawn slices: the ball that was drawn in some of them comes back, in millimetres."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from diffcl.inference.interactive.shapes import between_slices

SPACING = (1.0, 0.8, 2.5)
SHAPE = (48, 60, 24)


def ball(radius: float, shift: float = 0.0) -> NDArray[np.uint8]:
    """A ball of so many millimetres in the middle of an anisotropic grid, or beside it."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(SHAPE, SPACING, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return ((x - shift) ** 2 + y**2 + z**2 <= radius**2).astype(np.uint8)


def dice(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(2 * ((one == other) & (one > 0)).sum() / ((one > 0).sum() + (other > 0).sum()))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ball_drawn_in_some_slices_of_any_plane_comes_back(axis: int) -> None:
    truth = ball(18)
    held = np.flatnonzero(truth.any(axis=tuple(a for a in range(3) if a != axis)))
    slices = sorted({round(place) for place in np.linspace(held[0], held[-1], 7)})
    found = between_slices(truth, {axis: slices}, SPACING, 2).label()
    assert dice(found, truth) > 0.95
    assert (np.take(found, slices, axis) == np.take(truth, slices, axis)).all()


def test_nothing_is_found_beyond_the_outermost_slices() -> None:
    found = between_slices(ball(18), {2: [9, 14]}, SPACING, 2).label()
    assert found[..., 10:14].any(axis=(0, 1)).all()
    assert not found[..., :9].any()
    assert not found[..., 15:].any()


def test_the_outline_closes_on_the_way_to_an_empty_slice() -> None:
    drawn = ball(18)
    drawn[..., 16] = 0
    found = between_slices(drawn, {2: [11, 16]}, SPACING, 2).label()
    areas = found.sum(axis=(0, 1))[11:17]
    assert (np.diff(areas.astype(int)) <= 0).all()
    assert areas[-1] == 0 < areas[1]


def test_a_proposal_that_is_right_stays_and_one_that_is_shifted_is_moved_back() -> None:
    truth = ball(18)
    slices = {2: [6, 10, 14, 18]}
    alone = dice(between_slices(truth, slices, SPACING, 2).label(), truth)
    right = dice(between_slices(truth, slices, SPACING, 2, truth).label(), truth)
    moved = dice(between_slices(truth, slices, SPACING, 2, ball(18, 3.0)).label(), truth)
    assert right > alone
    assert moved > dice(ball(18, 3.0), truth) + 0.05


def test_slices_of_two_planes_tell_more_than_those_of_one() -> None:
    truth = ball(18)
    one = between_slices(truth, {2: [9, 14]}, SPACING, 2).label()
    both = between_slices(truth, {2: [9, 14], 0: [15, 24, 33]}, SPACING, 2).label()
    assert dice(both, truth) > dice(one, truth)


def test_two_classes_that_touch_leave_no_gap_between_them() -> None:
    truth = ball(18)
    truth[(truth > 0) & (np.arange(SHAPE[0])[:, None, None] > 23)] = 2
    found = between_slices(truth, {2: [7, 10, 13, 16]}, SPACING, 3).label()
    inner = ball(14) > 0
    inner[..., :7] = inner[..., 17:] = False
    assert (found[inner] > 0).all()
    assert (found[inner] == truth[inner]).mean() > 0.97


def test_no_slice_at_all_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no slice"):
        between_slices(ball(18), {2: []}, SPACING, 2)
