"""A scan of the studies as a small picture: three planes with the outlines of its label and of the last proposal."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import SimpleITK as sitk
from matplotlib.text import Text

from diffcl.errors import ScanError, named
from diffcl.evaluation.charts import DRAWING
from diffcl.evaluation.figures import compose, outline_colors
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io.isolated import read_reduced_isolated
from diffcl.io.reduced import Reduced
from diffcl.labels import UNKNOWN, LabelClass
from diffcl.recipe import Recipe
from diffcl.studies.label_tags import FINAL, FINAL_OF
from diffcl.studies.protocol import Studies

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
        kind: Literal["first", "scan"] = "first" if recipe and recipe.sequences else "scan"
        scan = read_reduced_isolated(studies.scan_path(image_id), LONGEST, kind)
    with named(f"label of {image_id}"):
        of_task = studies.label_path(image_id, f"{FINAL_OF}{recipe.name}") if recipe else None
        kept = studies.proposed(image_id)
        files = [of_task or studies.label_path(image_id, FINAL), kept.label]
        found = [None if file is None else read_reduced_isolated(file, LONGEST, "label") for file in files]
    for what in found:
        if what is not None and not same_grid(what.grid, scan.grid):
            raise ScanError(f"label of {image_id}", "lies on another grid than its scan", "Submit it again")
    volumes = [{} if what is None else _millilitres(what, classes) for what in found]
    label, proposal = (None if what is None else _drawn(what.image) for what in found)
    doubt = kept.doubt if kept.label is not None else None
    first = next((one for one in (label, proposal) if one is not None), _nothing(scan.image))
    with DRAWING:
        figure = compose(scan.image, first, doubt, classes, proposal=proposal if label is not None else None)
        figure.legends.clear()  # volumes stand beside the picture
        written = io.BytesIO()
        for text in figure.findobj(Text):
            text.set(color="white")
        figure.savefig(written, dpi=DOTS_PER_INCH, facecolor="black", metadata={"Software": None})
    colors = outline_colors(classes)
    by_name = {one.name: colors[one.value] for one in classes}
    return Picture(written.getvalue(), volumes[0], volumes[1], doubt is not None, by_name)


def _drawn(label: sitk.Image) -> sitk.Image:
    """A label in which what is unknown is not drawn."""
    return Geometry.of(label).place(np.where(voxels(label) == UNKNOWN, 0, voxels(label)))


def _nothing(grid: sitk.Image) -> sitk.Image:
    """A label without any class."""
    image = sitk.Image(grid.GetSize(), sitk.sitkUInt8)
    image.CopyInformation(grid)
    return image


def _millilitres(label: Reduced, classes: Sequence[LabelClass]) -> dict[str, float]:
    """The volume of each class in the file of a label."""
    voxel: float = math.prod(label.grid.spacing) / 1000
    return {one.name: round(label.counts[one.value] * voxel, 3) for one in classes}
