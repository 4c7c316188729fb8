"""Synthetic T1-like crops around a hippocampus, with computed truth.

A seed decides shape, contrast, shading and noise; a `Geometry` decides the grid, and any will do. What lies where is a
formula, see `diffcl.phantom.hippocampus_anatomy`. No voxel of a real scan is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from diffcl.geometry import Geometry, slice_points
from diffcl.phantom.hippocampus_anatomy import (
    Anatomy,
    Floats,
    Place,
    Triple,
    brightness,
    classes_at,
    rotation_matrix,
    triple,
)

Side = Literal["left", "right"]

EXTENT = (36.0, 50.0, 36.0)
"""Millimetres that a crop covers from right to left, front to back and foot to head."""

_CENTRE = (27.0, 22.0, -14.0)  # of the left tube in the head: millimetres to the left, back and top
_CROP_CENTRE = (2.3, -1.3, 2.3)  # of a crop: medial, anterior and superior of the tube's centre
_FINE = 0.5  # largest distance in mm between the points whose mean is a voxel


@dataclass(frozen=True)
class Phantom:
    """A synthetic scan and the truth about it.

    Attributes:
        image: Intensities, int16.
        label: Class of each voxel's centre on the same grid: 0 background, 1 anterior, 2 posterior, uint8.
        volumes_ml: Volume of the anterior and of the posterior part, exact, whether or not the grid holds
            all of it, millilitres.
    """

    image: sitk.Image
    label: sitk.Image
    volumes_ml: tuple[float, float]


def phantom_grid(
    *,
    spacing: Triple = (1.0, 1.0, 1.0),
    rotation: Triple = (0.0, 0.0, 0.0),
    orientation: str = "RAS",
    side: Side = "left",
    extent: Triple = EXTENT,
) -> Geometry:
    """The grid of a crop around the tube.

    Args:
        spacing: Millimetres between voxels along the grid's own axes.
        rotation: Degrees about the left, posterior and superior axis, for an oblique grid.
        orientation: Where the grid's axes point before the rotation: letters of L/R, A/P and S/I.
        side: Of the head.
        extent: Millimetres covered from right to left, front to back and foot to head.
    """
    axes = np.reshape(sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(orientation), (3, 3))
    size = np.maximum(2, np.rint(np.abs(axes).T @ np.array(extent) / np.array(spacing))).astype(int)
    direction = rotation_matrix(rotation) @ axes
    origin = _in_head(np.array(_CROP_CENTRE), side) - direction @ ((size - 1) / 2 * np.array(spacing))
    return Geometry(
        (int(size[0]), int(size[1]), int(size[2])), spacing, triple(origin), tuple(direction.ravel())
    )


def make_phantom(seed: int, grid: Geometry | None = None, *, side: Side = "left") -> Phantom:
    """A synthetic scan and its truth.

    Args:
        seed: Decides everything but the grid and the side; the same one gives the same voxels.
        grid: Where the voxels lie; by default upright at 1 mm, as `phantom_grid` gives it.
        side: Of the head; the right one is the mirror image.
    """
    grid = grid or phantom_grid(side=side)
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.draw(rng)
    grey = np.empty(grid.size)
    label = np.empty(grid.size, np.uint8)
    parts = [int(np.ceil(spacing / _FINE)) for spacing in grid.spacing]
    for k in range(grid.size[2]):
        points = anatomy.standard(_points(grid, k, side, parts))
        shape = grid.size[0], parts[0], grid.size[1], parts[1], parts[2]
        grey[..., k] = brightness(Place.of(points)).reshape(shape).mean(axis=(1, 3, 4))
        centres = anatomy.standard(_points(grid, k, side, [1, 1, 1]))
        label[..., k] = classes_at(Place.of(centres))[..., 0]
    return Phantom(grid.place(_expose(grey, grid, rng)), grid.place(label), anatomy.volumes_ml())


_VARIETY: tuple[tuple[Side, str, Triple, Triple], ...] = (
    # side, orientation, spacing, rotation; all right-handed, as DICOM has it
    ("left", "RAS", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    ("left", "RAS", (1.0, 1.0, 1.0), (6.0, -5.0, 9.0)),
    ("right", "LPS", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    ("left", "LPS", (0.9, 0.9, 2.0), (0.0, 7.0, 0.0)),
    ("right", "PIR", (0.8, 0.8, 1.5), (0.0, 0.0, 0.0)),
    ("left", "RIA", (0.9, 0.9, 1.2), (-8.0, 4.0, -6.0)),
)


def varied_phantom(seed: int) -> Phantom:
    """A phantom on one of six grids in turn: upright, oblique, right side, flat voxels, sagittal, coronal."""
    side, orientation, spacing, rotation = _VARIETY[seed % len(_VARIETY)]
    grid = phantom_grid(side=side, orientation=orientation, spacing=spacing, rotation=rotation)
    return make_phantom(seed, grid, side=side)


def _expose(grey: Floats, grid: Geometry, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Intensities of a scan with texture, uneven receiver, noise and arbitrary unit."""
    sigma = [1.5 / spacing for spacing in grid.spacing]
    texture = gaussian_filter(rng.standard_normal(grid.size), sigma)
    texture *= 0.08 / texture.std()
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.size], indexing="ij")
    shading = np.exp(sum(slope * axis for slope, axis in zip(rng.normal(0.0, 0.05, 3), axes, strict=True)))
    bright = (grey + texture + 1.15) * shading + rng.normal(0.0, 0.07, grid.size)
    unit = np.exp(rng.uniform(np.log(100), np.log(2000)))
    exposed: npt.NDArray[np.int16] = np.rint(np.clip(bright, 0.01, None) * unit).astype(np.int16)
    return exposed


def _points(grid: Geometry, k: int, side: Side, parts: list[int]) -> Floats:
    """Points that fill the voxels of slice `k` evenly: medial, anterior, superior of the tube's centre, mm.

    Returns:
        `(X * parts[0], Y * parts[1], parts[2], 3)`.
    """
    centre, signs = _frame(side)
    points: Floats = (slice_points(grid, k, parts) - centre) * signs
    return points


def _in_head(point: Floats, side: Side) -> Floats:
    """LPS position of a point given medial, anterior and superior of the tube's centre."""
    centre, signs = _frame(side)
    return centre + point * signs


def _frame(side: Side) -> tuple[Floats, Floats]:
    """LPS position of the tube's centre, and the signs of medial, anterior, superior along LPS."""
    mirror = 1.0 if side == "left" else -1.0
    return np.array(_CENTRE) * (mirror, 1.0, 1.0), np.array((-mirror, -1.0, 1.0))
