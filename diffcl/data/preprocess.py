"""From a scan to what the networks read, and the way back for probabilities.

Training, validation, the command line and the server all prepare scans with this one function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcl.data.partly_drawn import holds_a_class, is_partly_drawn, widened
from diffcl.data.resample import resample, working_geometry
from diffcl.data.restore import Restoration
from diffcl.errors import DataError
from diffcl.geometry import Box, Geometry, difference, filled_up, nearest_axes, voxels
from diffcl.io.images.integrity import LARGEST_VOXELS
from diffcl.io.scan import Scan
from diffcl.labels import UNKNOWN
from diffcl.recipe import Intensity, Recipe
from diffcl.recipe.preparation import Axes

NARROWEST = 0.05
"""Share of the intensity window that the values of a scan must span; in Hounsfield units air and tissue span more."""


@dataclass(frozen=True)
class PreparedScan:
    """A scan on its working grid.

    Attributes:
        image: Intensities `(C, X, Y, Z)`, float32, about -1..1, C the sequences of the task; 0 where one is absent.
        working: The working grid.
        original: The scan's own grid.
        axes: Which axes of the scan those of the working grid are, see `working_geometry`.
    """

    image: Tensor
    working: Geometry
    original: Geometry
    axes: Axes = "patient"

    def restore(self, probabilities: Tensor) -> NDArray[Any]:
        """Class probabilities of the working grid on the scan's own grid.

        Args:
            probabilities: `(K, X, Y, Z)`, background first, summing to 1.

        Returns:
            `(K, X, Y, Z)` float32 on the original grid, summing to 1.
        """
        whole = np.zeros((len(probabilities), *self.original.size[::-1]), np.float32).transpose(0, 3, 2, 1)
        whole[0] = 1.0
        for where, part in self.parts(probabilities):
            for channel, found in zip(whole, part, strict=True):
                channel[where] = found
        return whole

    def parts(self, probabilities: Tensor, least: float = 0.0) -> Iterator[tuple[Box, NDArray[Any]]]:
        """The same slab by slab, so that a large scan takes little memory; see `Restoration`.

        Args:
            probabilities: `(K, X, Y, Z)`, background first, summing to 1.
            least: Probability of all other classes together that is worth the way.

        Yields:
            Where in the scan, and the probabilities there, `(K, x, y, z)` float32, summing to 1.
        """
        yield from Restoration(self.working, self.original, least).add(probabilities)


def prepare(scan: Scan, recipe: Recipe) -> PreparedScan:
    """Put a scan on the working grid of a recipe and make its intensities comparable.

    Raises:
        DataError: If the recipe's window is so much wider than the scan's values that it would show nothing, the
            working grid would have more than `LARGEST_VOXELS`, or the scan has not the sequences of the recipe.
    """
    _check_sequences(scan, recipe)
    original = Geometry.of(scan.image)
    working = working_geometry(original, recipe.grid.spacing, recipe.grid.axes)
    if math.prod(working.size) > LARGEST_VOXELS:
        size, spacing = (" x ".join(f"{n:g}" for n in numbers) for numbers in (working.size, working.spacing))
        raise DataError(scan.path, f"would have {size} voxels of {spacing} mm, more than {LARGEST_VOXELS}",
                        "Crop it, look at its voxel size, or set DIFFCL_LARGEST_VOXELS")  # fmt: skip
    if not recipe.sequences:
        image = _on_working_grid(scan, scan.image, working, recipe.intensity)[None]
        return PreparedScan(image, working, original, recipe.grid.axes)
    image = torch.zeros(recipe.channels, *working.size)
    for channel, one, intensity in zip(image, (scan.image, *scan.others), recipe.intensities, strict=True):
        if one is not None:
            channel.copy_(_on_working_grid(scan, one, working, intensity))
    return PreparedScan(image, working, original, recipe.grid.axes)


def _on_working_grid(scan: Scan, image: sitk.Image, working: Geometry, intensity: Intensity) -> Tensor:
    """One image of a scan `(X, Y, Z)` on the working grid, comparable."""
    _check_unit(scan, image, intensity)
    resampled = resample(image, working)
    values = np.array(sitk.GetArrayViewFromImage(resampled).T, dtype=np.float32, order="C")
    del resampled  # a large scan should not be in memory more often than it must
    return normalise(torch.from_numpy(values), intensity)


def _check_sequences(scan: Scan, recipe: Recipe) -> None:
    """Refuse a scan of more or fewer images than the networks see."""
    found = 1 + len(scan.others)
    if found != recipe.channels:
        names = recipe.sequences_in_words
        wanted = f"takes {recipe.channels} sequences ({names})" if recipe.sequences else "takes one"
        have = "one sequence" if found == 1 else f"{found} sequences"
        raise DataError(scan.path, f"{have}, and {recipe.name} {wanted}", "Give the sequences of the task")


def _check_unit(scan: Scan, image: sitk.Image, intensity: Intensity) -> None:
    """Refuse a scan in another unit than its window, as one that somebody has scaled to 0..1 before."""
    if intensity.method != "window":
        return
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if high - low < NARROWEST * (intensity.high - intensity.low):
        window = f"the window {intensity.low:g}..{intensity.high:g} of the recipe would show nothing"
        instead = 'Give the scan in Hounsfield units, or set method = "percentile" under [intensity]'
        raise DataError(scan.path, f"its values are {low:g}..{high:g}, {window}", instead)


def normalise(values: Tensor, intensity: Intensity) -> Tensor:
    """Make intensities comparable between scans, in place, as the recipe says; clipped to about -1..1.

    >>> normalise(torch.tensor([-500.0, 75.0, 900.0]), Intensity(method="window", low=-125, high=275))
    tensor([-1.,  0.,  1.])

    Source:
        Percentiles rather than extremes, because MR scans have outliers and no unit.
    """
    if intensity.method == "window":
        low, high = intensity.low, intensity.high
    else:
        array = values.numpy()
        body = array[array != 0]  # torch would make three indices of eight bytes for each voxel
        body = body if body.size else np.zeros(1)
        if intensity.method == "percentile":
            ends = np.percentile(body, [intensity.low, intensity.high], overwrite_input=True)
        else:
            body = body.astype(np.float64)
            ends = body.mean() + np.array([-4, 4]) * body.std()
        low, high = map(float, ends)
    return values.sub_(low).div_(max(high - low, 1e-6)).mul_(2).sub_(1).clamp_(-1, 1)


def to_classes(
    label: sitk.Image, scan: Geometry, recipe: Recipe, where: object, *, partly: bool = False
) -> sitk.Image:
    """An annotated label map with the values of the recipe's classes, uint8.

    Args:
        label: Integer label map on the grid of its scan, or on a part of it, outside which is background.
        scan: Geometry of that scan.
        recipe: Names the values.
        where: Named in errors.
        partly: Whether voxels may be `UNKNOWN` and stay so.

    Raises:
        DataError: If the label lies on another grid, has a value that the recipe does not know, or no other one than
            `UNKNOWN`.
    """
    label = filled_up(label, scan)
    if differs := difference(Geometry.of(label), scan):
        raise DataError(where, f"lies on another grid than its scan: {differs}", "Save it on the scan's grid")
    array = voxels(label)
    meaning = {source: entry.value for entry in recipe.labels for source in entry.source_values}
    listed = ", ".join(map(str, sorted({*meaning} - {0})))
    if partly:
        meaning.setdefault(UNKNOWN, UNKNOWN)
    known = np.array(sorted({0, *meaning}))
    table = np.array([meaning.get(value, 0) for value in known.tolist()], np.uint8)
    upright = array.T  # as it lies in memory
    classes = np.empty(upright.shape, np.uint8)
    for slice_, into in zip(upright, classes, strict=True):  # so that no large array of indices is made
        at = np.minimum(np.searchsorted(known, slice_), len(known) - 1)
        strange = known[at] != slice_
        if strange.any():
            raise DataError(where, f"value {slice_[strange].min()} is not a class of {recipe.name} (0, {listed})",
                            "Remap it, or add the class to the recipe and retrain")  # fmt: skip
        into[...] = table[at]
    classes = classes.T
    if partly and is_partly_drawn(classes) and not holds_a_class(classes):
        raise DataError(where, f"holds no value but {UNKNOWN}, which is unknown",
                        f"Draw something, or give {UNKNOWN} among the sources of its class")  # fmt: skip
    return scan.place(classes)


def prepare_label(label: sitk.Image, scan: Geometry, recipe: Recipe, where: object) -> Tensor:
    """An annotated label on the working grid: class values or `UNKNOWN` `(X, Y, Z)`, int64. See `to_classes`."""
    classes = to_classes(label, scan, recipe, where, partly=True)
    target = working_geometry(scan, recipe.grid.spacing, recipe.grid.axes)
    return classes_on_grid(voxels(classes), scan, target)


def classes_on_grid(classes: NDArray[Any], scan: Geometry, target: Geometry) -> Tensor:
    """Class values or `UNKNOWN` `(X, Y, Z)` of a scan on another grid, int64.

    A slice that is known by itself stays known on a coarser grid, for as much as one voxel of it.
    """
    if is_partly_drawn(classes):
        order = nearest_axes(scan, target)
        steps = [target.spacing[axis] / own for axis, own in zip(order, scan.spacing, strict=True)]
        classes = widened(classes, steps)
    working = resample(scan.place(classes), target, labels=True)
    return torch.from_numpy(voxels(working).astype(np.int64))
