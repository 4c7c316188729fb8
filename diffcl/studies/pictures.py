"""A scan of the studies as a small picture: three planes with the outlines of its label and of the last proposal."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from matplotlib.text import Text

from diffcl.errors import ScanError, named
from diffcl.evaluation.charts import DRAWING
from diffcl.evaluation.figures import compose_planes, cut_smooth, outline_colors
from diffcl.geometry import same_grid
from diffcl.io.isolated import cut_isolated
from diffcl.io.planes import Cut
from diffcl.labels import LabelClass
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
    of_task = studies.label_path(image_id, f"{FINAL_OF}{recipe.name}") if recipe else None
    kept = studies.proposed(image_id)
    files = [of_task or studies.label_path(image_id, FINAL), kept.label]
    planes, found = None, list[Cut]()
    with named(f"label of {image_id}"):
        for file in files:
            found += [cut_isolated(file, LONGEST, "label", planes)] if file is not None else []
            planes = found[0].planes if found else None
    with named(image_id):
        kind: Literal["first", "scan"] = "first" if recipe and recipe.sequences else "scan"
        scan = cut_isolated(studies.scan_path(image_id), LONGEST, kind, planes)
    if any(not same_grid(one.grid, scan.grid) for one in found):
        raise ScanError(f"label of {image_id}", "lies on another grid than its scan", "Submit it again")
    doubt = cut_smooth(kept.doubt, scan.planes) if kept.label is not None and kept.doubt is not None else None
    with DRAWING:
        figure = compose_planes(
            scan.planes, scan.slices, scan.window, [one.slices for one in found], doubt, classes
        )
        written = io.BytesIO()
        for text in figure.findobj(Text):
            text.set(color="white")
        figure.savefig(written, dpi=DOTS_PER_INCH, facecolor="black", metadata={"Software": None})
    colors = outline_colors(classes)
    by_name = {one.name: colors[one.value] for one in classes}
    volumes = iter([_millilitres(one, classes) for one in found])
    label_ml, proposal_ml = ({} if file is None else next(volumes) for file in files)
    return Picture(written.getvalue(), label_ml, proposal_ml, doubt is not None, by_name)


def _millilitres(label: Cut, classes: Sequence[LabelClass]) -> dict[str, float]:
    """The volume of each class in the file of a label."""
    voxel: float = math.prod(label.grid.spacing) / 1000
    return {one.name: round(label.counts[one.value] * voxel, 3) for one in classes}
