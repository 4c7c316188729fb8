"""A picture of a plan: the crop of a training on a labelled scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffcl.data.cache import prepare_case
from diffcl.data.cases import LabelledCase
from diffcl.data.partly_drawn import without_unknown
from diffcl.files import replace_file
from diffcl.recipe import Recipe

VIEWS = {
    "patient": (("from above", 2), ("from the front", 1), ("from the side", 0)),
    "slices": (("a slice", 2), ("along its columns", 1), ("along its rows", 0)),
}
"""By the axes of the grid; each with the axis that it looks along."""


def draw_crop(case: LabelledCase, recipe: Recipe, path: Path) -> None:
    """Draw three cuts through the middle of the classes, as the networks see them, with the outline of a crop.

    Args:
        case: Its scan and label are read.
        recipe: With its grid.
        path: PNG file.

    Raises:
        ScanError: If the scan or label cannot be read.
        OutputError: If the picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    scan = prepare_case(case, recipe)
    image = scan.image[0].numpy()
    label = np.zeros(image.shape, np.uint8) if scan.label is None else scan.label.numpy()
    (label,) = without_unknown(label)
    inside = np.argwhere(label)
    middle = inside.mean(axis=0).round().astype(int) if len(inside) else np.array(image.shape) // 2
    spacing, crop = np.array(recipe.grid.spacing), np.array(recipe.grid.crop)
    starts = np.array(
        [
            (size - side) / 2 if side >= size else min(max(at - side // 2, 0), size - side)
            for at, side, size in zip(middle, crop, image.shape, strict=True)
        ]
    )
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    for panel, (name, axis) in zip(figure.subplots(1, 3), VIEWS[recipe.grid.axes], strict=True):
        across, up = (other for other in range(3) if other != axis)
        cut = [slice(None)] * 3
        cut[axis] = middle[axis]
        box = [0, image.shape[across] * spacing[across], 0, image.shape[up] * spacing[up]]
        panel.imshow(image[tuple(cut)].T, cmap="gray", origin="lower", extent=box, vmin=-1, vmax=1)
        shown = np.where(label[tuple(cut)].T > 0, label[tuple(cut)].T, np.nan)
        panel.imshow(
            shown, cmap="tab10", origin="lower", extent=box, alpha=0.45, vmin=1, vmax=10, interpolation="none"
        )
        corner = starts[[across, up]] * spacing[[across, up]]
        panel.add_patch(
            Rectangle(tuple(corner), *(crop * spacing)[[across, up]], fill=False, color="tab:orange", lw=2)
        )
        panel.autoscale()
        if up == 1:
            panel.invert_yaxis()  # front is up
        panel.set(title=name, xlabel="mm", ylabel="mm")
    figure.suptitle(
        f"{case.name}: a crop of {' x '.join(map(str, crop))} voxels of {' x '.join(f'{s:g}' for s in spacing)} mm"
    )
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
