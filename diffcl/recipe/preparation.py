"""The sections on how a scan is prepared for the networks: grid and intensity."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffcl.recipe.section import Millimetres, Section, Side

Axes = Literal["patient", "slices"]
"""Along what the working grid of a scan lies: the axes nearest to the patient's, or those of the slices."""

LARGEST_WINDOW = 256**3
"""Voxels of a crop or window at most; the networks' features of a larger one take tens of GB."""


class Grid(Section):
    """The grid on which the networks work.

    Attributes:
        axes: Of the scans. `patient`: those nearest to right-left, posterior-anterior and inferior-superior. For scans
            that consist of thick slices `slices`: rows, columns and the way through the slices, however these lie.
        spacing: Voxel size in mm along the three axes.
        window: Voxels that the networks see at once in a prediction; a larger scan is read in such windows.
            A training sets one that is not given to its crop.
        crop: Voxels of a training crop. A training sets one that is not given to the size of the scans, if
            that is not too large.
    """

    axes: Axes = "patient"
    spacing: tuple[Millimetres, Millimetres, Millimetres] = (1.0, 1.0, 1.0)
    window: tuple[Side, Side, Side] = (64, 64, 64)
    crop: tuple[Side, Side, Side] = (64, 64, 64)

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Grid:
        for name, sides in (("window", self.window), ("crop", self.crop)):
            if math.prod(sides) > LARGEST_WINDOW:
                raise ValueError(
                    f"{name} of {'x'.join(map(str, sides))} has more than {LARGEST_WINDOW} voxels"
                )
        return self


class Intensity(Section):
    """How voxel values are made comparable between scans.

    Attributes:
        method: `percentile` scales the two percentiles of the scan's non-zero voxels to -1..1, `window` scales
            the range low..high (Hounsfield units for CT) to -1..1, `zscore` scales four standard deviations of
            the non-zero voxels to either side of their mean to -1..1. All three clip what lies outside.
        low: Lower percentile or lower end of the window.
        high: Upper percentile or upper end of the window.
    """

    method: Literal["percentile", "window", "zscore"] = "percentile"
    low: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.5
    high: Annotated[float, Field(ge=-1e6, le=1e6)] = 99.5

    @model_validator(mode="after")
    def _ordered(self) -> Intensity:
        if self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        if self.method == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise ValueError("percentiles lie between 0 and 100")
        return self
