"""The check of a submitted label: readable, on its scan's grid, values that mean classes of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from diffcl.data.resample import resample
from diffcl.errors import DataError
from diffcl.geometry import Geometry, difference, filled_up, same_grid, voxels
from diffcl.io.formats import is_segmentation
from diffcl.io.images.segmentation import segments_of
from diffcl.io.isolated import read_label_isolated
from diffcl.recipe import Recipe

Names = Mapping[int, str]
"""Voxel value to the name of what it marks."""

CHECK_HERE = "check_here"
"""Name of the segment that marks where to look; it is never part of a label."""


@dataclass(frozen=True)
class Proposal:
    """What a model proposed for a scan.

    Attributes:
        label: Classes `(X, Y, Z)` on the scan's grid; None where they are not known any more.
        task: Name of the recipe whose classes they are.
        marked: Whether it was sent with the segment `CHECK_HERE`.
    """

    label: NDArray[Any] | None
    task: str
    marked: bool


@dataclass(frozen=True)
class Submission:
    """An accepted label.

    Attributes:
        label: uint8, exactly on the scan's grid, with the values of the task's classes.
        task: Name of the recipe whose classes it holds; None where several fit.
        classes: Name and value of each class, `[{"name", "idx"}]` as Slicer writes it.
        remark: What was changed to accept it; empty if nothing.
    """

    label: sitk.Image
    task: str | None
    classes: list[dict[str, Any]]
    remark: str


def check_label(
    file: Path,
    scan: Geometry,
    tasks: Sequence[Recipe],
    info: Mapping[str, Any],
    where: str,
    proposal: Proposal | None = None,
) -> Submission:
    """Check a label file that a client sent for a scan.

    Names decide what a value means: those inside a `.seg.nrrd` file, else those of `label_info`. Without
    any, the values must be those of a task. What is left of the segment `CHECK_HERE` becomes what was
    proposed there, or the nearest class where that is not known.

    Args:
        file: The received file.
        scan: Grid of the scan.
        tasks: Recipes whose classes are known.
        info: The client's params; `label_info` names the segments, `model` the model that proposed them.
        where: Named in errors.
        proposal: What the annotator started from, where that is known.

    Raises:
        ScanError: If the file is not a 3D label map.
        DataError: If it lies outside the scan, or a value or name is unknown.
    """
    label, remark = _on_grid(read_label_isolated(file), scan, where)
    remarks = [remark] if remark else []
    values = voxels(label)
    present = [int(value) for value in np.unique(values) if value != 0]
    preferred = str(info.get("model", ""))
    tasks = sorted(tasks, key=lambda task: task.name != preferred)
    names = _segment_names(file) or _listed_names(info.get("label_info"), present, where)
    marks = _marks(names, tasks, proposal)
    marked = np.isin(values, sorted(marks))
    values[marked] = 0
    present = [value for value in present if value not in marks]
    names = {value: name for value, name in names.items() if value not in marks}
    task = _task_of_names(names, present, tasks, where) if names else None
    if task is None:
        task = _task_of_values(present, tasks, preferred, where)
    elif any(value != _values(task)[_plain(names[value])] for value in present):
        before, values = values, np.zeros_like(values)
        for value in present:
            values[before == value] = _values(task)[_plain(names[value])]
        remarks.append("Values were renumbered by the names of the segments.")
    if marked.any():
        values[marked] = _instead_of_marks(values, marked, scan.spacing, task, proposal)
        remarks.append(f"The segment {CHECK_HERE} was left out.")
    return Submission(scan.place(values), task.name if task else None, _classes(task), " ".join(remarks))


def _marks(names: Names, tasks: Sequence[Recipe], proposal: Proposal | None) -> set[int]:
    """The values of the segment `CHECK_HERE`; in a file without names the one after the proposal's classes."""
    if names:
        return {value for value, name in names.items() if _plain(name) == CHECK_HERE}
    if proposal is None or not proposal.marked:
        return set()
    return {len(task.labels) + 1 for task in tasks if task.name == proposal.task}


def _instead_of_marks(
    values: NDArray[Any],
    marked: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    task: Recipe | None,
    proposal: Proposal | None,
) -> NDArray[Any]:
    """The class of each marked voxel: what was proposed, else that of the nearest voxel without a mark."""
    if proposal is not None and proposal.label is not None and (task is None or task.name == proposal.task):
        proposed: NDArray[Any] = proposal.label[marked]
        return proposed
    box = tuple(
        slice(max(0, part.start - 1), part.stop + 1)
        for part in ndimage.find_objects(marked.astype(np.uint8))[0]
    )
    nearest = ndimage.distance_transform_edt(
        marked[box], sampling=spacing, return_distances=False, return_indices=True
    )
    found: NDArray[Any] = values[box][tuple(nearest)][marked[box]]
    return found


def _task_of_values(
    present: Sequence[int], tasks: Sequence[Recipe], preferred: str, where: str
) -> Recipe | None:
    """The task whose values they are; None where it could be one of several."""
    fitting = [task for task in tasks if set(present) <= set(_values(task).values())]
    if not fitting:
        known = [f"{entry.value} {entry.name}" for task in tasks for entry in task.labels]
        what = f"values {', '.join(map(str, present))} are not classes of a task"
        raise DataError(where, what, f"Known are {', '.join(known) or 'none'}")
    return fitting[0] if len(fitting) == 1 or fitting[0].name == preferred else None


def _task_of_names(names: Names, present: Sequence[int], tasks: Sequence[Recipe], where: str) -> Recipe:
    """The task that knows all names; an empty segment marks nothing, so its name need not be known.

    Raises:
        DataError: If a value has no name, or a name is unknown.
    """
    unnamed = [value for value in present if value not in names]
    if unnamed:
        raise DataError(where, f"value {unnamed[0]} has no name in label_info", "Name every segment")
    for wanted in (set(names), set(present)):
        for task in tasks:
            if all(_plain(names[value]) in _values(task) for value in wanted):
                return task
    known = {_plain(entry.name): entry.name for task in tasks for entry in task.labels}
    strange = [names[value] for value in present if _plain(names[value]) not in known]
    if strange:
        what = f"segments {', '.join(repr(name[:40]) for name in strange)} are not known"
    else:
        what = f"segments {', '.join(names[value] for value in present)} belong to different tasks"
    raise DataError(where, what, f"Known names: {', '.join(known.values()) or 'none'}")


def _on_grid(label: sitk.Image, scan: Geometry, where: str) -> tuple[sitk.Image, str]:
    """The label exactly on the scan's grid, and a remark if it was resampled to get there.

    Positions count as equal within `diffcl.geometry.GRID_TOLERANCE_MM`. A label on another grid is
    resampled if that lies inside the scan; one that reaches more than a voxel of the scan beyond it lies in
    another space, or was made for another scan.
    """
    label = filled_up(label, scan)
    grid = Geometry.of(label)
    if same_grid(grid, scan):
        return scan.place(voxels(label)), ""
    positions = scan.indices(grid.corners(beyond=0.5))
    if (positions < -1.5).any() or (positions > np.array(scan.size) + 0.5).any():
        what = f"its grid reaches beyond that of its scan: {difference(grid, scan)}"
        raise DataError(where, what, "Save it on the scan's grid")
    remark = "The label lay on another grid and was resampled to that of the scan."
    return resample(label, scan, labels=True), remark


def _segment_names(file: Path) -> Names:
    """Values and names of the segments inside a `.seg.nrrd` file; empty for any other file."""
    return {one.value: one.name for one in segments_of(file)} if is_segmentation(file) else {}


def _listed_names(listed: Any, present: Sequence[int], where: str) -> Names:
    """Values and names of `label_info`; empty where the client sent none.

    Slicer writes the k-th segment as value k, and counts segments in `idx` that it does not send. So `idx` is
    the value only where it is not ascending or the file has a value beyond the last segment.
    """
    if not listed:
        return {}
    try:
        names = [str(entry["name"]) for entry in listed]
        indices = [int(entry["idx"]) for entry in listed]
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            where, "label_info is not a list of a name and an idx", "Send it as Slicer does"
        ) from error
    ascending = indices == sorted(set(indices))
    if ascending and all(value <= len(names) for value in present):
        return dict(enumerate(names, start=1))
    return dict(zip(indices, names, strict=True))


def _plain(name: str) -> str:
    return name.strip().casefold()


def _values(task: Recipe) -> dict[str, int]:
    return {_plain(entry.name): entry.value for entry in task.labels}


def _classes(task: Recipe | None) -> list[dict[str, Any]]:
    return [{"name": entry.name, "idx": entry.value} for entry in task.labels] if task else []
