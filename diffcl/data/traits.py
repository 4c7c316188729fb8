"""What a scan is like, in a few numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffcl.geometry import nearest_axes

if TYPE_CHECKING:
    from diffcl.data.preprocess import PreparedScan

AXES = {
    "patient": ("right-left", "front-back", "foot-head"),
    "slices": ("along rows", "along columns", "through slices"),
}
"""Names of the axes of a working grid."""

TRAITS = (
    *(f"{kind} {axis}" for axes in AXES.values() for kind in ("spacing", "extent") for axis in axes),
    "brightness",
    "contrast",
)
"""Names of the numbers; of those along axes, a scan has the ones of its working grid."""


def traits(prepared: PreparedScan) -> dict[str, float]:
    """Numbers that describe a scan.

    Spacing and extent along the working grid's axes in mm, and mean (`brightness`) and standard deviation
    (`contrast`) of the prepared intensities; of several sequences, those of the first.
    """
    size = np.array(prepared.working.size) * np.array(prepared.working.spacing)
    numbers = {}
    for index, (axis, spacing) in enumerate(zip(AXES[prepared.axes], _along(prepared), strict=True)):
        numbers[f"spacing {axis}"] = spacing
        numbers[f"extent {axis}"] = float(size[index])
    numbers["brightness"] = float(prepared.image[0].mean())
    numbers["contrast"] = float(prepared.image[0].std())
    return numbers


def _along(prepared: PreparedScan) -> list[float]:
    """Spacing of the scan along each axis of its working grid."""
    return [prepared.original.spacing[axis] for axis in nearest_axes(prepared.working, prepared.original)]
