"""Synthetic short-axis stacks of a heart, as cine MR takes them: few thick slices, oblique to the patient, with truth.

The anatomy is a formula: the left ventricle is a bullet of blood (label 3) in a thicker bullet of muscle (label 2), the
right one a crescent of blood at its side (label 1), in a chest with lungs, fat and liver. A seed decides sizes, place,
contrast, shading and noise. No voxel of a real scan is in it: sizes and grey values are round numbers near those of
adults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.geometry import Geometry, slice_points

RIGHT_VENTRICLE, MYOCARDIUM, LEFT_VENTRICLE = 1, 2, 3

APEX = np.array([0.7, -0.55, -0.45])
"""Where the long axis of a heart points in the patient: to the left, the front and the feet."""

BLOOD, MUSCLE, LUNG, FAT, LIVER = 0.8, 0.3, 0.05, 1.0, 0.45
"""Brightness."""

PARTS = (2, 2, 4)
"""Points within a voxel, along each axis, whose mean is its value."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeartPhantom:
    """A synthetic stack and the truth about it.

    Attributes:
        image: Intensities, int16.
        label: Class of each voxel's centre on the same grid: 0 background, 1 right ventricle, 2 myocardium,
            3 left ventricle, uint8.
        left_ventricle_ml: Volume of the blood in the left ventricle, exact, millilitres.
    """

    image: sitk.Image
    label: sitk.Image
    left_ventricle_ml: float


@dataclass(frozen=True)
class _Heart:
    """Sizes of one heart, mm; turn of its right ventricle about the long axis, radians; its middle in the stack, mm."""

    radius: float
    wall: float
    length: float
    right: float
    turn: float
    middle: tuple[float, float]

    @classmethod
    def draw(cls, random: np.random.Generator) -> _Heart:
        radius, wall, length, right = random.uniform((20.0, 8.0, 66.0, 34.0), (27.0, 11.0, 80.0, 42.0))
        x, y = random.uniform(-8.0, 8.0, 2)
        return cls(radius, wall, length, right, random.uniform(-0.25, 0.25), (float(x), float(y)))

    def classes(self, points: Floats) -> NDArray[np.uint8]:
        """The class at points `(..., 3)`: mm to the right of the slice, down, and from the base towards the apex."""
        x, y, deep = points[..., 0] - self.middle[0], points[..., 1] - self.middle[1], points[..., 2]
        across = x**2 + y**2
        begun = deep >= 0
        inner = self.radius**2 * (1 - (deep / self.length) ** 2)
        outer = (self.radius + self.wall) ** 2 * (1 - (deep / (self.length + self.wall)) ** 2)
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        aside, along = cos * x + sin * y + self.radius + self.wall, cos * y - sin * x
        taper = np.clip(1 - (deep / (0.95 * self.length)) ** 2, 0, None)
        right = (aside / self.right) ** 2 + (along / (1.15 * self.right)) ** 2 < taper
        classes = np.zeros(points.shape[:-1], np.uint8)
        classes[begun & right] = RIGHT_VENTRICLE
        classes[begun & (across < outer)] = MYOCARDIUM
        classes[begun & (across < inner)] = LEFT_VENTRICLE
        return classes

    @property
    def left_ventricle_ml(self) -> float:
        """Half an ellipsoid."""
        return 2 / 3 * np.pi * self.radius**2 * self.length / 1000


def short_axis_grid(
    size: tuple[int, int, int] = (160, 160, 10), spacing: tuple[float, float, float] = (1.6, 1.6, 9.0)
) -> Geometry:
    """The grid of a stack as a scanner stores it: rows to the lateral wall, columns down, slices from apex to base.

    Args:
        size: Voxels.
        spacing: Millimetres between voxels in the plane, twice, and between slices.
    """
    apex = APEX / np.linalg.norm(APEX)
    rows = np.cross([0.28, -0.36, 0.88], apex)
    rows /= np.linalg.norm(rows)
    axes = np.stack([rows, np.cross(rows, apex), -apex], axis=1)
    first = -axes @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return Geometry(size, spacing, (float(first[0]), float(first[1]), float(first[2])), tuple(axes.ravel()))


def make_heart_phantom(seed: int, grid: Geometry | None = None) -> HeartPhantom:
    """A synthetic stack and its truth.

    Args:
        seed: Decides everything but the grid; the same one gives the same voxels.
        grid: Where the voxels lie; by default as `short_axis_grid` gives it. The heart lies about the origin of space.
    """
    grid = grid or short_axis_grid()
    random = np.random.default_rng(seed)
    heart = _Heart.draw(random)
    bright = np.empty(grid.size)
    label = np.empty(grid.size, np.uint8)
    for k in range(grid.size[2]):
        shape = grid.size[0], PARTS[0], grid.size[1], PARTS[1], PARTS[2]
        bright[..., k] = _bright(_points(grid, k, PARTS), heart).reshape(shape).mean(axis=(1, 3, 4))
        label[..., k] = heart.classes(_points(grid, k, (1, 1, 1)))[..., 0]
    return HeartPhantom(
        grid.place(_exposed(bright, random)), grid.place(label), float(heart.left_ventricle_ml)
    )


def _bright(points: Floats, heart: _Heart) -> Floats:
    """Brightness at points, 0..1."""
    x, y = points[..., 0], points[..., 1]
    bright = np.full(points.shape[:-1], MUSCLE)
    body = (x / 118) ** 2 + (y / 112) ** 2
    bright[body > 0.86] = FAT
    bright[((x - 62) / 44) ** 2 + ((y + 12) / 78) ** 2 < 1] = LUNG
    bright[((x + 74) / 34) ** 2 + ((y + 30) / 56) ** 2 < 1] = LUNG
    bright[((x + 40) / 62) ** 2 + ((y - 82) / 32) ** 2 < 1] = LIVER
    bright[body > 1] = 0.0
    classes = heart.classes(points)
    for value, grey in (
        (RIGHT_VENTRICLE, BLOOD),
        (MYOCARDIUM, MUSCLE - 0.05),
        (LEFT_VENTRICLE, BLOOD + 0.05),
    ):
        bright[classes == value] = grey
    return bright


def _exposed(bright: Floats, random: np.random.Generator) -> NDArray[np.int16]:
    """Intensities with an uneven receiver, noise and an arbitrary unit."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in bright.shape], indexing="ij")
    shading = np.exp(sum(slope * axis for slope, axis in zip(random.normal(0.0, 0.08, 3), axes, strict=True)))
    noisy = bright * shading + random.normal(0.0, 0.04, bright.shape)
    exposed: NDArray[np.int16] = np.rint(np.clip(noisy, 0.0, None) * random.uniform(150, 900)).astype(
        np.int16
    )
    return exposed


def _points(grid: Geometry, k: int, parts: tuple[int, int, int]) -> Floats:
    """Points that fill slice `k` evenly, mm in the frame of the heart, `(X * parts, Y * parts, parts, 3)`."""
    frame = short_axis_grid().axes * (1.0, 1.0, -1.0)  # towards the apex
    points: Floats = slice_points(grid, k, parts) @ frame + (
        0.0,
        0.0,
        36.0,
    )  # the base lies that far before the middle
    return points
