"""The anatomy of the synthetic hippocampus: a formula for what lies at each point of a person, and for its volumes.

A bent tube of elliptic coronal sections, whose front is label 1 and whose back is label 2, lies among painted
neighbours (white matter, cortex, fluid, amygdala, brainstem). No number is from a real scan: sizes and grey values are
round and near the average of T1-weighted scans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Triple = tuple[float, float, float]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ANTERIOR, POSTERIOR = 1, 2

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
            waves.append((axis, float(rng.uniform(-1.0, 1.0)), triple(frequency)))
        return cls(
            shift=triple(rng.normal(0.0, 0.8, 3)),
            rotation=triple(rng.normal(0.0, 3.0, 3)),
            waves=tuple(waves),
            stretch=triple(1 + rng.normal(0.0, 0.05, 3)),
        )

    def standard(self, points: Floats) -> Floats:
        """Points `(..., 3)` of this person's anatomy in the standard one."""
        moved: Floats = (points - np.array(self.shift)) @ rotation_matrix(self.rotation)
        for axis, amplitude, frequency in self.waves:
            moved[..., axis] += amplitude * np.sin(moved @ np.array(frequency))
        moved /= np.array(self.stretch)
        return moved

    def volumes_ml(self) -> tuple[float, float]:
        """Volume of the anterior and of the posterior part, exact, millilitres."""
        scale = float(np.prod(self.stretch)) / 1000
        return _volume(_BORDER, _SECTIONS[-1, 0]) * scale, _volume(_SECTIONS[0, 0], _BORDER) * scale


@dataclass(frozen=True)
class Place:
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
    def of(cls, points: Floats) -> Place:
        """How points `(..., 3)` of the standard anatomy lie to the tube."""
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

    def holds(self, place: Place) -> Bools:
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

    def holds(self, place: Place) -> Bools:
        across = (place.across - self.across) / (np.maximum(place.width, 5.2) + self.wider)
        up = (place.up - self.up) / (np.maximum(place.height, 2.4) + self.higher)
        inside: Bools = (across**2 + up**2 < 1) & place.between(self.start, self.end)
        return inside


@dataclass(frozen=True)
class _Layer:
    """What lies under the tube: its grey value and how far below the tube's axis it begins."""

    grey: float
    top: float

    def holds(self, place: Place) -> Bools:
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


def brightness(place: Place) -> Floats:
    """Grey values of points, -1 (the darkest of a scan) .. 1 (the brightest)."""
    grey = np.full(place.depth.shape, _WHITE)
    for part in _NEIGHBOURS:
        grey[part.holds(place)] = part.grey
    grey[classes_at(place) > 0] = _TUBE
    return grey


def classes_at(place: Place) -> npt.NDArray[np.uint8]:
    """The class at each point: `ANTERIOR`, `POSTERIOR`, or 0 outside the tube."""
    width, height = place.width, place.height
    inside = (place.across * height) ** 2 + (place.up * width) ** 2 < (width * height) ** 2
    part = np.where(place.between(_BORDER, np.inf), ANTERIOR, POSTERIOR)
    classes: npt.NDArray[np.uint8] = (inside * part).astype(np.uint8)
    return classes


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


def rotation_matrix(degrees: Triple) -> Floats:
    """The matrix `(3, 3)` of a rotation about the three axes, one after the other."""
    matrix: Floats = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix


def triple(values: Floats) -> Triple:
    """Three numbers of an array as plain ones."""
    return float(values[0]), float(values[1]), float(values[2])
