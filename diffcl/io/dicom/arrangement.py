"""Slices in the order of their positions, and the grid that they make, or why they make none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, GeometryError
from diffcl.io.dicom.slices import EXPORT_AGAIN, Slice, Vector

SAME_DIRECTION: Final = 1e-3
"""Largest difference between the directions of two slices: 0.1 mm at 100 mm."""

SAME_PLACE: Final = 1e-2
"""Slices closer than this, in mm, are at one position."""

SLACK: Final = 0.05
"""A slice may lie this far, in mm, or 2 % of the slice distance, from its place on the even grid, and farther where
all positions are rounded."""

ROUNDED: Final = (1.0, 0.5, 0.1)
"""Parts of a millimetre to which headers round positions, the coarsest first."""

MOST_SLACK: Final = 0.25
"""Share of the slice distance which rounding may move a slice, so that a missing slice is always found."""

SIDEWAYS: Final = 0.25
"""A slice may be shifted in its plane by this share of a pixel."""

TELLING: Final = (
    "EchoTime", "EffectiveEchoTime", "InversionTime", "InversionTimes", "FlipAngle", "DiffusionBValue",
    "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "NominalCardiacTriggerDelayTime",
    "AcquisitionNumber", "FrameAcquisitionNumber", "ImageType", "FrameType", "AcquisitionTime", "ContentTime",
)  # fmt: skip
"""Attributes in which images at one position are likely to differ, the most telling first; in an enhanced image
they stand in the groups of each frame."""


@dataclass(frozen=True)
class Grid:
    """Slices in the order of their positions along the normal, and the grid that they make.

    Attributes:
        slices: From the lowest position to the highest.
        geometry: Where the voxels lie; its axes are row, column and normal.
    """

    slices: tuple[Slice, ...]
    geometry: Geometry


def arrange(path: Path, slices: Sequence[Slice]) -> Grid:
    """Put slices in order and find their grid; nothing is repaired.

    Raises:
        ScanError: If the slices differ in size, orientation, pixel size or frame of reference, if there is
            but one, several at one position, one missing, or if they are shifted or unevenly spaced.
    """
    first = slices[0]
    _check_alike(path, slices)
    if len(slices) == 1:
        raise ScanError(path, "only one image", "Give a series of at least two slices")
    normal = first.normal
    ordered = sorted(slices, key=lambda one: float(one.position @ normal))
    places = np.array([one.position for one in ordered])
    heights = places @ normal
    _check_one_each(path, ordered, heights)
    _check_straight(path, ordered, places, heights)
    _check_even(path, heights, _rounding(places, normal))
    row = first.row / np.linalg.norm(first.row)
    axes = np.stack([row, np.cross(normal, row), normal], axis=1)
    step = float(heights[-1] - heights[0]) / (len(ordered) - 1)
    x, y, z = places[0].tolist()
    size, spacing = (*first.size, len(ordered)), (*first.spacing, step)
    try:
        return Grid(tuple(ordered), Geometry(size, spacing, (x, y, z), tuple(axes.ravel().tolist())))
    except GeometryError as error:
        raise ScanError(path, str(error), EXPORT_AGAIN) from error


def _check_alike(path: Path, slices: Sequence[Slice]) -> None:
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size:
            sizes = " and ".join(f"{one.size[0]} x {one.size[1]}" for one in (first, other))
            raise ScanError(path, f"images of different size ({sizes} pixels)", EXPORT_AGAIN)
        turned = max(np.abs(other.row - first.row).max(), np.abs(other.column - first.column).max())
        if turned > SAME_DIRECTION:
            raise ScanError(path, "images of different orientation", "Export each orientation as a series")
        if not np.allclose(other.spacing, first.spacing, rtol=1e-3, atol=0):
            sizes = " and ".join(f"{one.spacing[0]:g} x {one.spacing[1]:g}" for one in (first, other))
            raise ScanError(path, f"images of different pixel size ({sizes} mm)", EXPORT_AGAIN)
    if len({str(one.file.header.get("FrameOfReferenceUID")) for one in slices}) > 1:
        raise ScanError(path, "images in different frames of reference", "Export each as a series")


def _check_one_each(path: Path, ordered: Sequence[Slice], heights: Vector) -> None:
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) > SAME_PLACE)
    counts = np.diff(starts, append=len(heights))
    if counts.max() == 1:
        return
    group = ordered[starts[counts.argmax()] :][: counts.max()]
    differing = [key for key in TELLING if len({_undecoded(one, key) for one in group}) > 1]
    reason = f", which differ in {differing[0]}" if differing else ""
    where = "at every position" if counts.min() == counts.max() else "at one position"
    raise ScanError(path, f"{counts.max()} images {where}{reason}", "Export one image a position as a series")


def _undecoded(one: Slice, keyword: str) -> str:
    """An attribute of a slice as it stands in the file: what is only compared need not be valid."""
    return " ".join(str(group.get_item(keyword).value) for group in one.groups if keyword in group)


def _check_straight(path: Path, ordered: Sequence[Slice], places: Vector, heights: Vector) -> None:
    """Refuse slices that do not lie one above the other: a tilted gantry shears the volume."""
    along = places - places[0] - np.outer(heights - heights[0], ordered[0].normal)
    shift = np.linalg.norm(along, axis=1)
    pixel = min(ordered[0].spacing)
    if shift.max() <= SIDEWAYS * pixel:
        return
    straight = np.outer((heights - heights[0]) / (heights[-1] - heights[0]), along[-1])
    if np.abs(along - straight).max() <= SIDEWAYS * pixel:
        tilt = math.degrees(math.atan2(shift[-1], heights[-1] - heights[0]))
        raise ScanError(
            path,
            f"slices are sheared by {tilt:.1f} degrees (gantry tilt)",
            "Reconstruct the series without tilt, or resample it to a straight grid",
        )
    raise ScanError(path, f"slices are shifted sideways by up to {shift.max():.1f} mm", EXPORT_AGAIN)


def _rounding(places: Vector, normal: Vector) -> float:
    """How far positions may lie from each other along the normal only because all of them were rounded, in mm."""
    for step in ROUNDED:
        if np.abs(places / step - np.rint(places / step)).max() < 1e-6:
            return step * float(np.abs(normal).sum())  # half a step an axis, for each of two positions
    return 0.0


def _check_even(path: Path, heights: Vector, rounding: float) -> None:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    places = np.linspace(heights[0], heights[-1], len(heights))
    off = np.abs(heights - places)
    if off.max() <= max(SLACK, 0.02 * usual, min(rounding, MOST_SLACK * usual)):
        return
    multiples = np.rint(steps / usual)
    missing = int(multiples.sum()) - len(steps)
    slack = max(SLACK, 0.1 * usual, min(rounding, MOST_SLACK * usual))
    if missing and multiples.min() == 1 and np.abs(steps - multiples * usual).max() <= slack:
        gap = int(steps.argmax())
        raise ScanError(
            path,
            f"{steps[gap]:.1f} mm between slices {gap + 1} and {gap + 2}, {usual:.1f} mm elsewhere",
            f"Export the series again with the {missing} missing slice{'s' if missing > 1 else ''}",
        )
    digits = 2 if np.ptp(steps) > 0.01 else 4
    raise ScanError(
        path,
        f"slices are unevenly spaced, {steps.min():.{digits}f} to {steps.max():.{digits}f} mm apart",
        "Reconstruct the series with even spacing, or resample it",
    )
