"""In which slices a label was drawn: told from where it ends abruptly.

Who draws in slices leaves those beside them empty, so the label ends there with a whole cross-section. Along the other
axes its cross-sections shrink to nothing, as those of a closed shape do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from diffcl.data.partly_drawn import plane_across
from diffcl.errors import UsageError
from diffcl.geometry import Geometry, extent

Plane = Literal["axial", "coronal", "sagittal"]
"""A plane of a patient; of an oblique grid, that which lies nearest to its slices."""

Slices = dict[int, tuple[int, ...]]
"""Of axes of the array, the slices across them."""

STRAY: Final = 0.05
"""Share of what is drawn that may lie outside the slices: thin tips, and strokes that went astray."""

CROSSING: Final = (0.2, 0.1)
"""What a slice of another plane has at least outside the slices of the first: of its own area, and of one of theirs."""

LIKELY: Final = 0.6
"""Share of the best score from which on other slices are possible too."""

BETTER: Final = 1.25
"""Slices of several planes end abruptly in so many more voxels than those of the best single one, or it is chosen."""

LEAST_BETTER: Final = 0.25
"""Largest cross-sections in which they do so at least."""

WIDTHS: Final = (2, 3, 5)
"""Sides of the squares by which a slice is told from the strips that slices of other planes leave in it, in voxels."""


def axes_of(plane: Plane, scan: Geometry) -> list[int]:
    """The axes of a grid across which a plane lies: one, or two of a grid that is turned by 45 degrees.

    Raises:
        UsageError: If no slices of the grid lie in it.
    """
    planes = [plane_across(axis, scan) for axis in range(3)]
    axes = [axis for axis in range(3) if planes[axis] == plane]
    if not axes:
        known = get_args(Plane)
        what = "no slices of this scan lie in it" if plane in known else "there is none of that name"
        raise UsageError(f"plane {str(plane)[:40]}", what,
                         f"Known: {', '.join(sorted(set(planes) & set(known)))}")  # fmt: skip
    return axes


def has_slices(classes: NDArray[Any], axes: Iterable[int] = range(3)) -> bool:
    """Whether a square of 2 x 2 drawn voxels lies across one of the axes of a label `(X, Y, Z)`."""
    return any(_squares(classes != 0, axis, 2).any() for axis in axes)


def slices_with_squares(drawn: NDArray[np.bool_], axis: int) -> list[int]:
    """The slices across an axis of `(X, Y, Z)` with a square of 2 x 2 drawn voxels."""
    found: list[int] = _across(_squares(drawn, axis, 2), axis).nonzero()[0].tolist()
    return found


def drawn_slices(classes: NDArray[Any], axes: Iterable[int] = range(3)) -> list[Slices]:
    """Of each axis, the slices across it in which somebody drew; the likeliest first, then what it could be besides.

    A slice counts where a square of 2 x 2 voxels of it is drawn. Slices of one plane are chosen where they hold what is
    drawn, those across which it ends the most abruptly; slices of several planes where none does. Where they end alike
    the fewest are chosen.

    >>> label = np.zeros((9, 9, 9)); label[2:7, 2:7, [1, 4, 7]] = 1
    >>> drawn_slices(label)
    [{2: (1, 4, 7)}]

    Args:
        classes: `(X, Y, Z)`, 0 where nothing is drawn; with a square across one of the axes, see `has_slices`.
        axes: Across which slices are looked for; by their plane a person may have said it.
    """
    whole = classes != 0
    box = tuple(
        slice(max(0, side.start - 1), min(size, side.stop + 1))
        for side, size in zip(extent(whole), whole.shape, strict=True)
    )
    drawn, axes = whole[box], list(axes)
    wanted = np.logical_or.reduce([_squares(drawn, axis, 2) for axis in range(3)])
    every = {axis: tuple(slices_with_squares(drawn, axis)) for axis in axes}
    every = {axis: found for axis, found in every.items() if found}
    single = [{axis: found} for axis, found in every.items()]
    if len(axes) < 3:
        ranked = _ranked(drawn, single)[:1]
    else:
        ranked = _ranked(drawn, [one for one in single if _holds_alone(wanted, one)])
        best = ranked[0][0] if ranked else -np.inf
        crossing = [
            one for one in _crossing(drawn, wanted) if _left(wanted, one).sum() <= STRAY * wanted.sum()
        ]
        crossing_ranked = _ranked(drawn, crossing or [every])
        if not ranked or crossing_ranked[0][0] > BETTER * best + LEAST_BETTER:
            ranked = crossing_ranked[:1]
    first = [side.start for side in box]
    found = [
        {axis: tuple(i + first[axis] for i in one) for axis, one in slices.items()} for _, slices in ranked
    ]
    likely = [
        slices for (score, _), slices in zip(ranked, found, strict=True) if score >= LIKELY * ranked[0][0]
    ]
    return [found[0], *(one for one in likely if one != found[0])]


def in_words(slices: Mapping[int, Sequence[int]], scan: Geometry) -> str:
    """Slices, counted from 0 as the file has them, and their plane."""
    parts = []
    for axis, found in slices.items():
        shown = ", ".join(map(str, found[:12])) + (" and more" if len(found) > 12 else "")
        parts.append(f"{len(found)} {plane_across(axis, scan)} slice{'s' * (len(found) > 1)} ({shown})")
    return " and ".join(parts)


def _ranked(drawn: NDArray[np.bool_], candidates: Iterable[Slices]) -> list[tuple[float, Slices]]:
    """Scores and slices, the highest score first, and of those that differ by less than a tenth the fewest slices."""
    found = [(_score(drawn, slices), slices) for slices in candidates]
    best = max((score for score, _ in found), default=0)
    return sorted(
        found, key=lambda one: (one[0] < 0.9 * best, _total(one[1]) if one[0] >= 0.9 * best else -one[0])
    )


def _total(slices: Mapping[int, Sequence[int]]) -> int:
    return sum(map(len, slices.values()))


def _score(drawn: NDArray[np.bool_], slices: Slices) -> float:
    """How abruptly what is drawn ends beside slices: 0 for a closed shape, 1 for each end as large as its largest."""
    open_ = ~drawn
    for axis, found in slices.items():
        np.moveaxis(open_, axis, 0)[list(found)] = False
    score = 0.0
    for axis, found in slices.items():
        one, other = np.zeros_like(np.moveaxis(drawn, axis, 0)), np.moveaxis(open_, axis, 0)
        one[list(found)] = np.moveaxis(drawn, axis, 0)[list(found)]
        free = int((one[1:] & other[:-1]).sum()) + int((one[:-1] & other[1:]).sum())
        areas = _areas(drawn, axis)
        many = int(np.ptp(areas.nonzero()[0])) + 1
        end = (2 * many - 1) / many**2 if many > 1 else 0  # of the largest cross-section of an ellipsoid
        score += max(0.0, free / float(areas.max()) - 2 * end) / (1 - end)
    return score


def _holds_alone(wanted: NDArray[np.bool_], slices: Slices) -> bool:
    """Whether slices of one plane hold what is drawn, but for tips, and no slice of another plane is beside them."""
    left = _left(wanted, slices)
    if left.sum() > STRAY * wanted.sum():
        return False
    return not any(_crossed(wanted, left, slices, axis) for axis in range(3) if axis not in slices)


def _crossing(drawn: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Iterator[Slices]:
    """Slices of two or three planes: those of a first one, and what they leave of the others."""
    for width in WIDTHS:
        for first in range(3):
            begun = tuple(np.flatnonzero(_across(_squares(drawn, first, width), first)).tolist())
            for others in permutations([axis for axis in range(3) if axis != first] if begun else [], 2):
                slices = {first: begun}
                for axis in others:
                    left = _left(wanted, slices)
                    if left.any() and (found := _crossed(wanted, left, slices, axis)):
                        slices[axis] = found
                if len(slices) > 1:
                    yield dict(sorted(slices.items()))


def _crossed(
    wanted: NDArray[np.bool_], left: NDArray[np.bool_], slices: Slices, axis: int
) -> tuple[int, ...]:
    """The slices across an axis with a considerable part outside those of other planes."""
    own, there = _areas(wanted, axis), _areas(left, axis)
    theirs = max(float(np.median(_areas(wanted, other)[list(found)])) for other, found in slices.items())
    return tuple(
        np.flatnonzero((there > 0) & (there >= CROSSING[0] * own) & (there >= CROSSING[1] * theirs)).tolist()
    )


def _left(wanted: NDArray[np.bool_], slices: Slices) -> NDArray[np.bool_]:
    """What lies outside slices."""
    left = wanted.copy()
    for axis, found in slices.items():
        np.moveaxis(left, axis, 0)[list(found)] = False
    return left


def _areas(drawn: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    areas: NDArray[np.int64] = drawn.sum(axis=tuple(a for a in range(3) if a != axis))
    return areas


def _across(drawn: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = drawn.any(axis=tuple(a for a in range(3) if a != axis))
    return found


def _squares(drawn: NDArray[np.bool_], axis: int, width: int) -> NDArray[np.bool_]:
    """Voxels that belong to a drawn square across an axis, `width` voxels wide."""
    stack = np.moveaxis(drawn, axis, 0)
    corner = stack
    for side in (1, 2):
        many = max(0, corner.shape[side] - width + 1)
        parts = [np.take(corner, range(at, at + many), side) for at in range(width)]
        corner = np.logical_and.reduce(parts)
    found = np.zeros_like(stack)
    for x in range(width):
        for y in range(width):
            found[:, x : x + corner.shape[1], y : y + corner.shape[2]] |= corner
    return np.moveaxis(found, 0, axis)
