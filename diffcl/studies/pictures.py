"""A scan of the studies as a small picture: three planes with the outlines of its label and of the last proposal."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import SimpleITK as sitk
from matplotlib.text import Text

from diffcl.errors import ScanError, named
from diffcl.evaluation.charts import DRAWING
from diffcl.evaluation.figures import compose
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io.isolated import read_first_isolated, read_label_isolated, read_scan_isolated
from diffcl.labels import UNKNOWN
from diffcl.recipe import Recipe
from diffcl.studies.protocol import FINAL, FINAL_OF, Studies

LONGEST: Final = 256
"""Voxels along an axis of what is drawn, at most; more would not be seen."""

DOTS_PER_INCH: Final = 90


@dataclass(frozen=True)
class Picture:
    """A scan as people look at it on a page.

    Attributes:
        png: The picture; nothing in it or beside it names the patient.
        label_ml: Millilitres of each class of the label; empty without one.
        proposal_ml: The same of the last proposal.
        has_doubt: Whether the map of doubt is in the picture.
        colors: Of the outline of each class, as in #ff0000.
    """

    png: bytes
    label_ml: Mapping[str, float]
    proposal_ml: Mapping[str, float]
    has_doubt: bool
    colors: Mapping[str, str]


def draw_scan(studies: Studies, image_id: str, tasks: Sequence[Recipe], task: str = "") -> Picture:
    """Draw a scan on black. The outline of the label is a line, that of the proposal is dashed; below is the doubt.

    Files are read in a process of their own, as those that nobody has looked at yet.

    Args:
        studies: The studies.
        image_id: The scan.
        tasks: Recipes with names and colours of the classes.
        task: Name of the one whose classes the label has; the first one where it is none of them.

    Raises:
        DiffclError: If the scan cannot be used.
    """
    recipe = next((one for one in tasks if one.name == task), next(iter(tasks), None))
    classes = recipe.labels if recipe else ()
    with named(image_id):
        read = read_first_isolated if recipe and recipe.sequences else read_scan_isolated
        scan = read(studies.scan_path(image_id)).image
    grid = Geometry.of(scan)
    with named(f"label of {image_id}"):
        of_task = studies.label_path(image_id, f"{FINAL_OF}{recipe.name}") if recipe else None
        file = of_task or studies.label_path(image_id, FINAL)
        label = None if file is None else _drawn(read_label_isolated(file))
        kept = studies.proposed(image_id)
    proposal = kept.label
    for what in (label, proposal):
        if what is not None and not same_grid(Geometry.of(what), grid):
            raise ScanError(f"label of {image_id}", "lies on another grid than its scan", "Submit it again")
    volumes = [
        {} if what is None else {one.name: _millilitres(what, one.value) for one in classes}
        for what in (label, proposal)
    ]
    factors = [-(-length // LONGEST) for length in scan.GetSize()]
    small = sitk.BinShrink(sitk.Cast(scan, sitk.sitkFloat32), factors) if max(factors) > 1 else scan
    outlines = [None if what is None else _on(small, what) for what in (label, proposal)]
    first = next((one for one in outlines if one is not None), _nothing(small))
    doubt = kept.doubt if kept.label is not None else None
    with DRAWING:
        figure = compose(
            small, first, doubt, classes, proposal=outlines[1] if outlines[0] is not None else None
        )
        figure.legends.clear()  # volumes stand beside the picture
        written = io.BytesIO()
        for text in figure.findobj(Text):
            text.set(color="white")
        figure.savefig(written, dpi=DOTS_PER_INCH, facecolor="black", metadata={"Software": None})
    colors = {one.name: "#{:02x}{:02x}{:02x}".format(*one.color) for one in classes}
    return Picture(written.getvalue(), volumes[0], volumes[1], doubt is not None, colors)


def _on(grid: sitk.Image, label: sitk.Image) -> sitk.Image:
    """A label on a coarser grid of the same space; of each voxel the nearest one counts."""
    image: sitk.Image = sitk.Resample(
        sitk.Cast(label, sitk.sitkUInt8), grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0
    )
    return image


def _drawn(label: sitk.Image) -> sitk.Image:
    """A label in which what is unknown is not drawn."""
    return Geometry.of(label).place(np.where(voxels(label) == UNKNOWN, 0, voxels(label)))


def _nothing(grid: sitk.Image) -> sitk.Image:
    """A label without any class."""
    image = sitk.Image(grid.GetSize(), sitk.sitkUInt8)
    image.CopyInformation(grid)
    return image


def _millilitres(label: sitk.Image, value: int) -> float:
    voxel: float = math.prod(label.GetSpacing()) / 1000
    return round(int(np.count_nonzero(voxels(label) == value)) * voxel, 3)
