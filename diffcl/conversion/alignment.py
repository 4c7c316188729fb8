"""Whether labels lie where they should: found from the scans, for sets whose files may contradict each other.

A mirrored or shifted label has the right size, shape and values, so only its scan can tell. Two questions are
asked: does another orientation or place of all labels follow the edges of the scans better, and does one scan with its
label look less like the others than with its label mirrored or moved?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from diffcl.data.resample import resample, working_geometry
from diffcl.geometry import Geometry, voxels

AXES = ("left-right", "front-back", "head-foot")

LARGEST = 64
"""Voxels along the longest side of a view."""

CLEARLY = 0.05
"""By how much a changed label must look more like the rest (correlation plus Dice, at most 2) to be named."""

FEWEST = 8
"""Scans from which on each is compared with the others."""

FARTHEST = 6
"""Voxels of a view by which a whole set is tried to be shifted."""

SHARPER = 1.15
"""By how much the edges along all labels must grow with a shift of the set for it to be named."""

Flip = tuple[bool, bool, bool]


@dataclass(frozen=True)
class View:
    """A scan and the outline of all its classes, coarse, with axes nearest to left, posterior and superior.

    Attributes:
        image: Intensities, smoothed, of unit standard deviation `(X, Y, Z)`.
        label: Share of each voxel inside the label, 0..1 `(X, Y, Z)`.
    """

    image: NDArray[Any]
    label: NDArray[Any]

    def mirrored(self, flip: Flip) -> View:
        """The same scan with its label mirrored along some axes."""
        return View(self.image, np.flip(self.label, [axis for axis in range(3) if flip[axis]]))

    def shifted(self, axis: int, step: int) -> View:
        """The same scan with its label moved along an axis."""
        return View(self.image, np.roll(self.label, step, axis))


def spacing_for(image: sitk.Image) -> float:
    """Voxel size in mm for the views of a set, from one of its scans."""
    grid = Geometry.of(image)
    return max(min(grid.spacing), float(grid.extent.max()) / LARGEST)


def view(image: sitk.Image, label: sitk.Image, spacing: float) -> View:
    """The view of a scan and its label, which lie on the same grid."""
    grid = working_geometry(Geometry.of(image), (spacing, spacing, spacing))
    coarse = voxels(resample(sitk.Cast(image, sitk.sitkFloat32), grid))
    inside = voxels(resample(sitk.Cast(label > 0, sitk.sitkFloat32), grid))
    smooth = ndimage.gaussian_filter(coarse, 1)
    return View((smooth / max(float(smooth.std()), 1e-6)).astype(np.float32), inside.astype(np.float32))


def best_flip(views: Sequence[View]) -> Flip:
    """The mirroring of all labels with which they follow the edges of their scans best.

    Returns:
        Whether to mirror along each axis of `AXES`; all False if they fit as they are.
    """
    flips: list[Flip] = [(a, b, c) for a, b, c in product((False, True), repeat=3)]

    return max(flips, key=lambda flip: _edges([one.mirrored(flip) for one in views]))


def best_shift(views: Sequence[View]) -> str | None:
    """The axis of `AXES` along which all labels, moved, follow the edges of their scans clearly better, if any."""
    shifts = [(axis, step) for axis in range(3) for step in range(-FARTHEST, FARTHEST + 1) if step]
    edges = {shift: _edges([one.shifted(*shift) for one in views]) for shift in shifts}
    best = max(edges, key=lambda shift: edges[shift])
    return AXES[best[0]] if edges[best] > SHARPER * _edges(views) else None


def _edges(views: Sequence[View]) -> float:
    return float(np.median([_edge(one) for one in views]))


def unlike_the_rest(views: Mapping[str, View]) -> dict[str, str]:
    """What is suspicious about each case whose changed label would look more like the other cases.

    Compares scan and label around the label's centre with the mean of the others: the correlation of the
    intensities plus the Dice of the labels. Empty for fewer than `FEWEST` cases.
    """
    seen = {name: one for name, one in views.items() if (one.label > 0.5).any()}
    if len(seen) < FEWEST:
        return {}
    half = int(np.ceil(0.75 * np.median([_extent(one.label) for one in seen.values()])))
    patches = {name: _patch(one.image, one.label, half) for name, one in seen.items()}
    images = np.sum([image for image, _ in patches.values()], axis=0)
    labels = np.sum([label for _, label in patches.values()], axis=0)
    near = 0.02 + np.clip(3 * ndimage.gaussian_filter(labels / len(patches), 2), 0, 1)
    shift = max(2, half // 4)
    found = {}
    for name, one in seen.items():
        image, label = patches[name]
        rest = (images - image) / (len(patches) - 1), (labels - label) / (len(patches) - 1)
        scores = [
            (_likeness(*_patch(one.image, changed, half), *rest, near), what)
            for what, changed in _changed(one.label, shift)
        ]
        best, what = max(scores)
        if best > _likeness(image, label, *rest, near) + CLEARLY:
            found[name] = f"its label looks {what}"
    return found


def _likeness(
    image: NDArray[Any],
    label: NDArray[Any],
    other_image: NDArray[Any],
    other_label: NDArray[Any],
    near: NDArray[Any],
) -> float:
    overlap = 2 * np.minimum(label, other_label).sum() / max(float(label.sum() + other_label.sum()), 1e-6)
    return _correlation(image, other_image, near) + float(overlap)


def _changed(label: NDArray[Any], shift: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """A label mirrored and shifted along each axis, and what it then is."""
    for axis, name in enumerate(AXES):
        yield f"mirrored {name}", np.flip(label, axis)
        for step in (-shift, shift):
            yield f"shifted {name}", np.roll(label, step, axis)


def _edge(one: View) -> float:
    """Mean change of intensity from voxel to voxel across the outline."""
    inside = one.label > 0.5
    steps = []
    for axis in range(3):
        crosses = np.diff(inside, axis=axis)
        steps.append(np.abs(np.diff(one.image, axis=axis)[crosses]))
    every = np.concatenate(steps)
    return float(every.mean()) if every.size else 0.0


def _extent(label: NDArray[Any]) -> int:
    box = ndimage.find_objects((label > 0.5).astype(int))[0]
    return max(int(side.stop - side.start) for side in box)


def _patch(image: NDArray[Any], label: NDArray[Any], half: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Image, of zero mean and unit deviation, and label in a cube about the label's centre."""
    centre = [round(float(c)) for c in ndimage.center_of_mass(label)]
    index = np.ix_(
        *(np.clip(np.arange(-half, half) + c, 0, n - 1) for c, n in zip(centre, label.shape, strict=True))
    )
    cube = image[index]
    return (cube - cube.mean()) / max(float(cube.std()), 1e-6), label[index]


def _correlation(one: NDArray[Any], other: NDArray[Any], weight: NDArray[Any]) -> float:
    one, other = (values - (values * weight).sum() / weight.sum() for values in (one, other))
    norm = np.sqrt((weight * one * one).sum() * (weight * other * other).sum())
    return float((weight * one * other).sum() / max(float(norm), 1e-6))
