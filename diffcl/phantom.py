"""Synthetic T1-like crops around a hippocampus, with computed truth.

The anatomy is a formula: a bent tube of elliptic coronal sections, whose front is label 1 and whose back is
label 2, among painted neighbours (white matter, cortex, fluid, amygdala, brainstem). A seed decides shape,
contrast, shading and noise; a `Geometry` decides the grid, and any will do. No voxel of a real scan is in it:
sizes and grey values are round numbers near the average of T1-weighted scans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from diffcl.geometry import Geometry, slice_points

Side = Literal["left", "right"]
Triple = tuple[float, float, float]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ANTERIOR, POSTERIOR = 1, 2
EXTENT = (36.0, 50.0, 36.0)
"""Millimetres that a crop covers from right to left, front to back and foot to head."""

_CENTRE = (27.0, 22.0, -14.0)  # of the left tube in the head: millimetres to the left, back and top
_CROP_CENTRE = (2.3, -1.3, 2.3)  # of a crop: medial, anterior and superior of the tube's centre
_FINE = 0.5  # largest distance in mm between the points whose mean is a voxel

# Coronal sections of the tube from back to front, millimetres. Coordinates here and below are medial (towards
# the middle of the head), anterior and superior of the tube's centre.
_SECTIONS = np.array(
    [
        # anterior, medial, superior, half width, half height, tilt in degrees with the medial end up
        (-21.0, 4.5, 10.9, 0.0, 0.0, 32.0),
        (-19.5, 3.5, 10.0, 5.2, 2.7, 30.0),
        (-16.7, 2.0, 8.4, 6.9, 3.7, 22.0),
        (-13.8, -0.4, 5.6, 6.5, 3.7, 8.0),
        (-10.8, -1.6, 3.7, 6.5, 3.5, 2.0),
        (-7.6, -2.5, 2.2, 6.5, 3.4, -2.0),
        (-4.7, -2.9, 1.0, 6.5, 3.4, -5.0),
        (-1.7, -3.0, 0.0, 6.5, 3.6, -7.0),
        (1.4, -2.6, -1.1, 7.0, 3.9, -8.0),
        (4.3, -0.9, -2.0, 8.3, 4.4, 0.0),
        (7.5, 0.4, -2.9, 8.8, 4.8, 5.0),
        (10.5, 1.6, -4.0, 9.1, 4.6, 8.0),
        (13.4, 3.1, -5.3, 8.2, 3.9, 15.0),
        (16.2, 4.9, -6.3, 5.4, 2.4, 26.0),
        (17.5, 5.6, -6.8, 0.0, 0.0, 30.0),
    ]
)
_BORDER = 0.7  # the front part begins here

_WHITE, _GREY, _TUBE, _FLUID = 0.78, -0.12, -0.28, -0.95  # -1 is the darkest, 1 the brightest of a scan


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


@dataclass(frozen=True)
class Anatomy:
    """What a seed decides about the shape: a map from a person's anatomy to the standard one.

    The map is a shift, a rotation, waves, each of which moves points along one axis by a sine of the other
    two coordinates, and a stretch. Only the stretch changes volumes, so they are known exactly.

    Attributes:
        shift: Millimetres.
        rotation: Degrees about the medial, anterior and superior axis.
        waves: Axis moved, amplitude in mm, radians a millimetre along the three axes (0 along the moved one).
        stretch: Factors along the axes.
    """

    shift: Triple
    rotation: Triple
    waves: tuple[tuple[int, float, Triple], ...]
    stretch: Triple

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """Draw the shape of one person."""
        waves = []
        for axis in (0, 2, 1, 2):
            frequency = rng.normal(0.0, 0.12, 3)
            frequency[axis] = 0.0
            waves.append((axis, float(rng.uniform(-1.0, 1.0)), _triple(frequency)))
        return cls(
            shift=_triple(rng.normal(0.0, 0.8, 3)),
            rotation=_triple(rng.normal(0.0, 3.0, 3)),
            waves=tuple(waves),
            stretch=_triple(1 + rng.normal(0.0, 0.05, 3)),
        )

    def standard(self, points: Floats) -> Floats:
        """Points `(..., 3)` of this person's anatomy in the standard one."""
        moved: Floats = (points - np.array(self.shift)) @ _turn(self.rotation)
        for axis, amplitude, frequency in self.waves:
            moved[..., axis] += amplitude * np.sin(moved @ np.array(frequency))
        moved /= np.array(self.stretch)
        return moved

    def volumes_ml(self) -> tuple[float, float]:
        """Volume of the anterior and of the posterior part, exact, millilitres."""
        scale = float(np.prod(self.stretch)) / 1000
        return _volume(_BORDER, _SECTIONS[-1, 0]) * scale, _volume(_SECTIONS[0, 0], _BORDER) * scale


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
    direction = _turn(rotation) @ axes
    origin = _in_head(np.array(_CROP_CENTRE), side) - direction @ ((size - 1) / 2 * np.array(spacing))
    return Geometry(
        (int(size[0]), int(size[1]), int(size[2])), spacing, _triple(origin), tuple(direction.ravel())
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
        grey[..., k] = _paint(_Place.of(points)).reshape(shape).mean(axis=(1, 3, 4))
        centres = anatomy.standard(_points(grid, k, side, [1, 1, 1]))
        label[..., k] = _classes(_Place.of(centres))[..., 0]
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


@dataclass(frozen=True)
class _Place:
    """Points of the standard anatomy, and how they lie to the tube.

    Attributes:
        points: Medial, anterior, superior, `(..., 3)`, mm.
        across: Distance from the tube's axis along its width, mm.
        up: Along its height, mm.
        depth: Straight below the axis, mm.
        width: Half width of the tube's section at the point, 0 before and behind the tube, mm.
        height: Half height likewise.
    """

    points: Floats
    across: Floats
    up: Floats
    depth: Floats
    width: Floats
    height: Floats

    @classmethod
    def of(cls, points: Floats) -> _Place:
        medial, superior, width, height, tilt = _section(points[..., 1])
        x, z = points[..., 0] - medial, points[..., 2] - superior
        cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        return cls(points, x * cos + z * sin, z * cos - x * sin, -z, width, height)

    def between(self, start: float, end: float) -> Bools:
        """Which points lie between two coronal planes."""
        inside: Bools = (self.points[..., 1] > start) & (self.points[..., 1] <= end)
        return inside


@dataclass(frozen=True)
class _Ball:
    """An ellipsoid: its grey value, centre and half axes."""

    grey: float
    centre: Triple
    half: Triple

    def holds(self, place: _Place) -> Bools:
        inside: Bools = (((place.points - np.array(self.centre)) / np.array(self.half)) ** 2).sum(axis=-1) < 1
        return inside


@dataclass(frozen=True)
class _Sleeve:
    """A tube along the tube: its grey value, where its axis lies, how much wider and higher it is."""

    grey: float
    across: float
    up: float
    wider: float
    higher: float
    start: float = -np.inf
    end: float = np.inf

    def holds(self, place: _Place) -> Bools:
        across = (place.across - self.across) / (np.maximum(place.width, 5.2) + self.wider)
        up = (place.up - self.up) / (np.maximum(place.height, 2.4) + self.higher)
        inside: Bools = (across**2 + up**2 < 1) & place.between(self.start, self.end)
        return inside


@dataclass(frozen=True)
class _Layer:
    """What lies under the tube: its grey value and how far below the tube's axis it begins."""

    grey: float
    top: float

    def holds(self, place: _Place) -> Bools:
        inside: Bools = place.depth > self.top
        return inside


# Painted on white matter in this order; the tube comes last.
_NEIGHBOURS: tuple[_Ball | _Sleeve | _Layer, ...] = (
    _Ball(0.5, (14.0, -2.0, 17.0), (15.0, 15.0, 10.0)),  # thalamus
    _Ball(_GREY - 0.1, (-17.0, 3.0, 13.0), (5.0, 13.0, 7.0)),  # insular cortex
    _Ball(-0.7, (-17.0, 3.0, 13.0), (2.0, 11.0, 5.0)),  # and the sulcus in it
    _Ball(_GREY, (14.0, -22.0, 6.0), (9.0, 9.0, 11.0)),  # calcarine cortex
    _Ball(_FLUID, (17.0, -22.0, 4.0), (3.5, 11.0, 14.0)),  # and the fissure beside it
    _Ball(_FLUID, (6.0, -25.0, 17.0), (5.5, 6.5, 8.0)),  # ventricle
    _Layer(_GREY, 6.5),  # cortex under the white matter
    _Layer(-0.6, 10.0),  # fluid
    *(_Layer((0.3, -0.3)[fold % 2], 11.5 + 1.6 * fold) for fold in range(12)),  # folds of the cerebellum
    _Sleeve(_FLUID, 3.0, -4.2, 5.0, 3.8),  # cistern around the parahippocampal gyrus
    _Sleeve(_GREY, 2.0, -4.4, 3.0, 2.2),  # cortex of that gyrus
    _Sleeve(_WHITE, 0.0, -2.4, 0.6, 0.8),  # and its white matter
    _Ball(0.6, (20.0, -2.0, -4.0), (7.5, 12.0, 18.0)),  # brainstem
    _Ball(_GREY, (6.0, 17.0, 0.0), (10.0, 9.0, 8.0)),  # amygdala
    _Ball(_GREY - 0.1, (0.0, 27.0, -12.0), (25.0, 7.0, 12.0)),  # temporal pole
    _Sleeve(_WHITE, 0.0, 0.0, 1.2, 1.2, start=9.0, end=19.0),  # alveus
    _Sleeve(-0.8, 0.8, 0.9, 0.9, 0.9, start=-14.0, end=13.0),  # choroid fissure and temporal horn
)


def _paint(place: _Place) -> Floats:
    """Grey values, -1..1."""
    grey = np.full(place.depth.shape, _WHITE)
    for part in _NEIGHBOURS:
        grey[part.holds(place)] = part.grey
    grey[_classes(place) > 0] = _TUBE
    return grey


def _classes(place: _Place) -> npt.NDArray[np.uint8]:
    width, height = place.width, place.height
    inside = (place.across * height) ** 2 + (place.up * width) ** 2 < (width * height) ** 2
    part = np.where(place.between(_BORDER, np.inf), ANTERIOR, POSTERIOR)
    classes: npt.NDArray[np.uint8] = (inside * part).astype(np.uint8)
    return classes


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


def _section(anterior: Floats) -> list[Floats]:
    """Medial, superior, half width, half height and tilt of the tube's sections in coronal planes."""
    return [np.interp(anterior, _SECTIONS[:, 0], column) for column in _SECTIONS[:, 1:].T]


def _volume(start: float, end: float) -> float:
    """Volume of the standard tube between two coronal planes, mm3.

    Both half axes are linear between sections, so Simpson's rule is exact there.
    """
    inner = _SECTIONS[(_SECTIONS[:, 0] > start) & (_SECTIONS[:, 0] < end), 0]
    planes = np.concatenate([[start], inner, [end]])

    def area(anterior: Floats) -> Floats:
        _, _, width, height, _ = _section(anterior)
        ellipse: Floats = np.pi * width * height
        return ellipse

    low, high = planes[:-1], planes[1:]
    return float(((high - low) / 6 * (area(low) + 4 * area((low + high) / 2) + area(high))).sum())


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


def _turn(degrees: Triple) -> Floats:
    matrix: Floats = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix


def _triple(values: Floats) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
