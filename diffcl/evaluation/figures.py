"""A prediction as a picture: the scan in three planes with outlines, and the uncertainty below it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from diffcl.data.resample import smooth
from diffcl.files import replace_file
from diffcl.geometry import Geometry, nearest_axes, voxels
from diffcl.io.planes import Planes, cut, planes_of_label, window_of
from diffcl.labels import LabelClass, distinct_colors

WIDTH = 9.0
"""Inches."""

Slices = Sequence[NDArray[Any]]
"""What is seen in each plane, as `diffcl.io.planes.Cut.slices`."""

_STROKE = [withStroke(linewidth=2, foreground="black")]


@dataclass(frozen=True)
class _Plane:
    """A way to look: the axis looked along, those shown to the right and down or up, and what lies at the edges."""

    name: str
    along: int
    right: int
    vertical: int
    edges: tuple[str, str, str, str]  # left, right, top, bottom


# Axes are those of an upright grid: 0 to the left, 1 to the back, 2 to the top. As radiologists look at it, the
# right side of the body is on the left.
_PLANES = (
    _Plane("axial", 2, 0, 1, ("R", "L", "A", "P")),
    _Plane("coronal", 1, 0, 2, ("R", "L", "S", "I")),
    _Plane("sagittal", 0, 1, 2, ("A", "P", "S", "I")),
)


def draw_prediction(
    image: sitk.Image,
    label: sitk.Image,
    uncertainty: sitk.Image,
    classes: Sequence[LabelClass],
    path: Path,
    *,
    title: str,
) -> None:
    """Write the picture of a prediction as a PNG. See `compose`.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = compose(image, label, uncertainty, classes, title=title)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=130, facecolor="white", metadata={"Software": None})


def compose(
    image: sitk.Image,
    label: sitk.Image,
    uncertainty: sitk.Image | None,
    classes: Sequence[LabelClass],
    *,
    title: str = "",
) -> Figure:
    """Show a scan with its outlines in their colours, and below it the uncertainty.

    Each plane shows the slice in which the object is largest, the middle one where there is none. Voxels
    keep their shape; an oblique scan is resampled upright.

    Args:
        image: The scan.
        label: Class values on its grid.
        uncertainty: 0..1 on its grid; None where it is not known, and the picture has no second row.
        classes: Names and colours, see `outline_colors`; their volumes stand in the legend.
        title: Stands above it.
    """
    planes = planes_of_label(label)
    figure = compose_planes(
        planes,
        cut_smooth(image, planes),
        window_of(sitk.GetArrayViewFromImage(image)),
        [cut(label, planes, labels=True)],
        None if uncertainty is None else cut_smooth(uncertainty, planes),
        classes,
    )
    if title:
        figure.suptitle(title, fontweight="bold")
    millilitres = math.prod(label.GetSpacing()) / 1000
    counts = np.bincount(voxels(label).ravel(), minlength=256)
    colors = outline_colors(classes)
    handles = [
        Line2D([], [], color=colors[entry.value], linewidth=3,
               label=f"{entry.name.replace('_', ' ')} {counts[entry.value] * millilitres:.2f} ml")
        for entry in classes
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3), frameon=False)
    return figure


def compose_planes(
    planes: Planes,
    scan: Slices,
    window: tuple[float, float],
    labels: Sequence[Slices],
    doubt: Slices | None,
    classes: Sequence[LabelClass],
) -> Figure:
    """Show what lies in three planes: a scan with outlines, and below it the uncertainty.

    Args:
        planes: The planes.
        scan: Of the scan, as `Cut.slices`.
        window: Its values that are black and white.
        labels: Class values of the label, and of another one whose outlines are dashed.
        doubt: 0..1; None where it is not known, and the picture has no second row.
        classes: Of the labels, see `outline_colors`.
    """
    grid = planes.grid
    extent = grid.extent
    widths = [extent[plane.right] for plane in _PLANES]
    tallest = max(extent[plane.vertical] for plane in _PLANES)
    count = 1 if doubt is None else 2
    height = count * tallest * (WIDTH - 1.5) / sum(widths) + 1.2
    colors = outline_colors(classes)
    figure = Figure(figsize=(WIDTH, min(max(height, 3.0), count * WIDTH)), layout="constrained")
    rows = figure.subplots(count, 3, width_ratios=widths, squeeze=False)
    for index, plane in enumerate(_PLANES):
        above = rows[0, index]
        _show(above, scan, plane, grid, cmap="gray", vmin=window[0], vmax=window[1])
        above.set_title(plane.name, fontsize=10)
        if doubt is not None:
            heat = _show(rows[1, index], doubt, plane, grid, cmap="magma", vmin=0.0, vmax=1.0)
        for axes, width in zip(rows[:, index], (1.6, 1.0), strict=False):
            for label, line in zip(labels, ("-", "--"), strict=False):
                _outline(axes, label, plane, grid, colors, width, line)
            _frame(axes, plane, extent[plane.vertical], tallest)
    rows[0, 0].set_ylabel("scan and outline")
    if doubt is not None:
        rows[1, 0].set_ylabel("uncertainty")
        figure.colorbar(heat, ax=rows[1].tolist(), shrink=0.8, label="0 sure, 1 undecided")
    return figure


def cut_smooth(image: sitk.Image, planes: Planes) -> Slices:
    """What of a scan or of an uncertainty lies in planes, without detail that these could not hold."""
    steps = [planes.grid.spacing[axis] for axis in nearest_axes(Geometry.of(image), planes.grid)]
    return cut(smooth(image, steps), planes)


def _show(axes: Axes, slices: Slices, plane: _Plane, grid: Geometry, **look: Any) -> AxesImage:
    width, height = (grid.size[axis] * grid.spacing[axis] for axis in (plane.right, plane.vertical))
    edges = (0.0, width, height, 0.0)
    return axes.imshow(_rows(slices, plane), extent=edges, interpolation="nearest", **look)


def _rows(slices: Slices, plane: _Plane) -> NDArray[Any]:
    """Rows from top to bottom of the picture."""
    rows: NDArray[Any] = slices[plane.along].T
    return rows[::-1] if plane.vertical == 2 else rows


def _outline(
    axes: Axes, label: Slices, plane: _Plane, grid: Geometry, colors: Mapping[int, str],
    width: float, line: str,
) -> None:  # fmt: skip
    rows = _rows(label, plane)
    right = (np.arange(rows.shape[1]) + 0.5) * grid.spacing[plane.right]
    down = (np.arange(rows.shape[0]) + 0.5) * grid.spacing[plane.vertical]
    for value, color in colors.items():
        mask = rows == value
        if mask.any() and min(mask.shape) > 1:
            axes.contour(right, down, mask, levels=[0.5], colors=[color], linewidths=width,
                         linestyles=line)  # fmt: skip


def _frame(axes: Axes, plane: _Plane, height: float, tallest: float) -> None:
    """Give all panels the same height, and name their edges."""
    margin = (tallest - height) / 2
    axes.set(xticks=[], yticks=[], ylim=(height + margin, -margin), facecolor="black")
    left, right, top, bottom = plane.edges
    style: dict[str, Any] = {"color": "white", "path_effects": _STROKE, "transform": axes.transAxes}
    axes.text(0.02, 0.5, left, ha="left", va="center", **style)
    axes.text(0.98, 0.5, right, ha="right", va="center", **style)
    axes.text(0.5, 0.98, top, ha="center", va="top", **style)
    axes.text(0.5, 0.02, bottom, ha="center", va="bottom", **style)


def outline_colors(classes: Sequence[LabelClass]) -> dict[int, str]:
    """The colour of the outline of each class by its value, as in #ff0000."""
    return {value: "#{:02x}{:02x}{:02x}".format(*color) for value, color in distinct_colors(classes).items()}
