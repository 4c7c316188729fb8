"""The check of a submitted label: readable, on its scan's grid, values that mean classes of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from diffcl.data.partly_drawn import with_gaps
from diffcl.data.resample import resample
from diffcl.errors import DataError
from diffcl.geometry import Geometry, difference, filled_up, same_grid, voxels
from diffcl.io.read import read_label
from diffcl.labels import UNKNOWN, UNKNOWN_SLICES, plain
from diffcl.recipe import Recipe
from diffcl.studies.drawn_part import PLANE, drawn_slices, listed, mark_unknown, says_slices
from diffcl.studies.label_meaning import (
    CHECK_HERE,
    Names,
    Part,
    classes_of_task,
    listed_names,
    parts_of_names,
    segment_names,
    task_of_values,
)

NOT_OUTLINED = "not_outlined"
"""Among the params of a submission: names of classes that the label lacks because nobody outlined them."""


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
    """An accepted label of one task.

    Attributes:
        label: uint8, exactly on the scan's grid, with the values of the task's classes.
        task: Name of the recipe whose classes it holds; None where several fit.
        classes: Name and value of each class, `[{"name", "idx"}]` as Slicer writes it; `UNKNOWN` is among them where a
            voxel has it.
        remark: What was changed to accept it, and which slices were taken for known; empty where nothing needs a word.
        drawn: How much of it is drawn, for people; empty where all of it is.
    """

    label: sitk.Image
    task: str | None
    classes: list[dict[str, Any]]
    remark: str
    drawn: str = ""


def check_label(
    file: Path,
    scan: Geometry,
    tasks: Sequence[Recipe],
    info: Mapping[str, Any],
    where: str,
    proposal: Proposal | None = None,
) -> list[Submission]:
    """Check a label file that a client sent for a scan, and take it apart by tasks.

    Names decide what a value means: those inside a `.seg.nrrd` file, else those of `label_info`. Without
    any, the values must be those of a task. Names of several tasks give a label of each, and what two tasks
    share goes into both. What is left of the segment `CHECK_HERE` becomes what was proposed there, or the nearest
    class where that is not known. Of a label that is partly drawn it is said what is unknown, by a segment of the name
    `UNKNOWN_NAME`, or by `KNOWN` or `UNKNOWN_SLICES` that the slices are in which nothing is drawn.

    Args:
        file: The received file.
        scan: Grid of the scan.
        tasks: Recipes whose classes are known.
        info: The client's params; `label_info` names the segments, `model` the model that proposed them, `KNOWN` says
            what is drawn.
        where: Named in errors.
        proposal: What the annotator started from, where that is known.

    Returns:
        A label of each task, at least one.

    Raises:
        ScanError: If the file is not a 3D label map.
        DataError: If it lies outside the scan, a value or name is unknown, or all of it is.
    """
    _check_not_outlined(info, tasks, where)
    label, remark = _on_grid(read_label(file), scan, where)
    remarks = [remark] if remark else []
    values = voxels(label)
    present = [int(value) for value in np.unique(values) if value != 0]
    preferred = str(info.get("model", ""))
    tasks = sorted(tasks, key=lambda task: task.name != preferred)
    names = segment_names(file) or listed_names(info.get("label_info"), present, where)
    by_slices = says_slices(info, names.values(), where)
    saying = {value for value, name in names.items() if plain(name) == UNKNOWN_SLICES}
    values[np.isin(values, sorted(saying))] = 0
    marks = _marks(names, tasks, proposal)
    marked = np.isin(values, sorted(marks))
    values[marked] = 0
    present = [value for value in present if value not in marks | saying]
    names = {value: name for value, name in names.items() if value not in marks | saying}
    if not names:
        task = task_of_values(present, tasks, preferred, where)
        parts = [Part(task, {value: value for value in present})]
    else:
        parts = parts_of_names(names, present, tasks, where)
    if len(parts) > 1:
        if marked.any():
            values[marked] = _instead_of_marks(values, marked, scan.spacing, None, None)
        remarks.append(f"It was taken apart into {', '.join(part.name for part in parts)}.")
    labels = [part.of(values) for part in parts]
    if marked.any():
        remarks.append(f"The segment {CHECK_HERE} was left out.")
        if len(parts) == 1:
            labels[0][marked] = _instead_of_marks(labels[0], marked, scan.spacing, parts[0].task, proposal)
    known = drawn_slices(labels, where, scan, info.get(PLANE)) if by_slices else None
    found = []
    for part, of_task in zip(parts, labels, strict=True):
        told = list(remarks)
        if any(value != meant for value, meant in part.meaning.items() if meant != UNKNOWN):
            told.append("Values were renumbered by the names of the segments.")
        drawn = mark_unknown(of_task, known, where, scan)
        told += [] if known is None else [f"{known.told}.", *known.warnings]
        if gaps := with_gaps(of_task, scan):
            told.append(
                f"Only {gaps} hold a class, and the empty ones teach that nothing is there: if they are not drawn yet, "
                f"add an empty segment {UNKNOWN_SLICES} and submit again."
            )
        name = part.task.name if part.task else None
        classes = listed(classes_of_task(part.task), drawn)
        found.append(Submission(scan.place(of_task), name, classes, " ".join(told), drawn))
    return found


def _check_not_outlined(info: Mapping[str, Any], tasks: Sequence[Recipe], where: str) -> None:
    """Refuse params that say of no class that it is not outlined.

    Raises:
        DataError: If the names are none.
    """
    listed = info.get(NOT_OUTLINED, [])
    known = list(dict.fromkeys(entry.name for task in tasks for entry in task.labels))
    if not isinstance(listed, list) or any(name not in known for name in listed):
        raise DataError(
            where, f"{NOT_OUTLINED} is no list of classes", f"Known names: {', '.join(known) or 'none'}"
        )


def _marks(names: Names, tasks: Sequence[Recipe], proposal: Proposal | None) -> set[int]:
    """The values of the segment `CHECK_HERE`; in a file without names the one after the proposal's classes."""
    if names:
        return {value for value, name in names.items() if plain(name) == CHECK_HERE}
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
