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

from diffcl.data.resample import resample
from diffcl.files import replace_file
from diffcl.geometry import Geometry, voxels
from diffcl.labels import LabelClass, distinct_colors

WIDTH = 9.0
"""Inches."""

_LONGEST = 300
_ALIGNED = 1e-3
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
    proposal: sitk.Image | None = None,
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
        proposal: Class values on the same grid, of which the outlines are dashed.
    """
    grid = upright(Geometry.of(image))
    scan = voxels(resample(image, grid))
    doubt = None if uncertainty is None else voxels(resample(uncertainty, grid))
    shown = voxels(resample(label, grid, labels=True))
    proposed = None if proposal is None else voxels(resample(proposal, grid, labels=True))
    extent = grid.extent
    widths = [extent[plane.right] for plane in _PLANES]
    tallest = max(extent[plane.vertical] for plane in _PLANES)
    count = 1 if doubt is None else 2
    height = count * tallest * (WIDTH - 1.5) / sum(widths) + 1.2
    colors = outline_colors(classes)
    figure = Figure(figsize=(WIDTH, min(max(height, 3.0), count * WIDTH)), layout="constrained")
    if title:
        figure.suptitle(title, fontweight="bold")
    rows = figure.subplots(count, 3, width_ratios=widths, squeeze=False)
    low, high = 0.0, 0.0
    if scan.any():
        low, high = np.percentile(scan[scan != 0], (0.5, 99.5), overwrite_input=True)
    for index, plane in enumerate(_PLANES):
        position = _largest(shown, plane.along)
        above = rows[0, index]
        _show(above, scan, plane, position, grid, cmap="gray", vmin=low, vmax=high)
        above.set_title(plane.name, fontsize=10)
        if doubt is not None:
            heat = _show(rows[1, index], doubt, plane, position, grid, cmap="magma", vmin=0.0, vmax=1.0)
        for axes, width in zip(rows[:, index], (1.6, 1.0), strict=False):
            _outline(axes, shown, plane, position, grid, colors, width)
            if proposed is not None:
                _outline(axes, proposed, plane, position, grid, colors, width, "--")
            _frame(axes, plane, extent[plane.vertical], tallest)
    rows[0, 0].set_ylabel("scan and outline")
    if doubt is not None:
        rows[1, 0].set_ylabel("uncertainty")
        figure.colorbar(heat, ax=rows[1].tolist(), shrink=0.8, label="0 sure, 1 undecided")
    millilitres = math.prod(label.GetSpacing()) / 1000
    counts = np.bincount(voxels(label).ravel(), minlength=256)
    handles = [
        Line2D([], [], color=colors[entry.value], linewidth=3,
               label=f"{entry.name.replace('_', ' ')} {counts[entry.value] * millilitres:.2f} ml")
        for entry in classes
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3), frameon=False)
    return figure


def upright(scan: Geometry) -> Geometry:
    """A grid with axes to the left, back and top that covers a scan.

    An upright scan keeps its voxels, whatever the order of its axes; for an oblique one the voxels are cubes
    of its smallest spacing, or larger where the picture would have more than 300 along an axis.
    """
    axes = scan.axes
    steps = np.abs(axes) * np.array(scan.spacing)
    corners = scan.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    if np.abs(np.abs(axes) - np.rint(np.abs(axes))).max() < _ALIGNED:
        spacing = steps.max(axis=1)
    else:
        spacing = np.full(3, max(min(scan.spacing), float((high - low).max()) / _LONGEST))
    size = np.rint((high - low) / spacing).astype(int) + 1
    return Geometry(
        (int(size[0]), int(size[1]), int(size[2])),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (float(low[0]), float(low[1]), float(low[2])),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )


def _largest(label: NDArray[Any], along: int) -> int:
    """The slice with most labelled voxels, or the middle one."""
    areas = (label > 0).sum(axis=tuple(axis for axis in range(3) if axis != along))
    return int(areas.argmax()) if areas.any() else label.shape[along] // 2


def _show(
    axes: Axes, volume: NDArray[Any], plane: _Plane, position: int, grid: Geometry, **look: Any
) -> AxesImage:
    width, height = (grid.size[axis] * grid.spacing[axis] for axis in (plane.right, plane.vertical))
    edges = (0.0, width, height, 0.0)
    return axes.imshow(_slice(volume, plane, position), extent=edges, interpolation="nearest", **look)


def _slice(volume: NDArray[Any], plane: _Plane, position: int) -> NDArray[Any]:
    """Rows from top to bottom of the picture."""
    rows: NDArray[Any] = np.take(volume, position, plane.along).T
    return rows[::-1] if plane.vertical == 2 else rows


def _outline(
    axes: Axes, label: NDArray[Any], plane: _Plane, position: int, grid: Geometry, colors: Mapping[int, str],
    width: float, line: str = "-",
) -> None:  # fmt: skip
    rows = _slice(label, plane, position)
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
