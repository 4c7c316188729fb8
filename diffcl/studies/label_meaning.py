"""What the values of a submitted label mean: classes of which tasks, by the names of its segments or by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcl.errors import DataError
from diffcl.io.formats import is_segmentation
from diffcl.io.images.segmentation import segments_of
from diffcl.labels import UNKNOWN, meant_by_names
from diffcl.recipe import Recipe

Names = Mapping[int, str]
"""Voxel value to the name of what it marks."""

CHECK_HERE = "check_here"
"""Name of the segment that marks where to look; it is never part of a label."""


@dataclass(frozen=True)
class Part:
    """What of a submitted label belongs to one task.

    Attributes:
        task: The task; None where several fit.
        meaning: The task's class value of every value of the file that is one, and `UNKNOWN` of what is unknown.
    """

    task: Recipe | None
    meaning: Mapping[int, int]

    @property
    def name(self) -> str:
        """Name of the task; empty where several fit."""
        return self.task.name if self.task else ""

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The classes of the task among the values of a file `(X, Y, Z)`."""
        classes = np.zeros_like(values)
        for value, meant in self.meaning.items():
            classes[values == value] = meant
        return classes


def task_of_values(
    present: Sequence[int], tasks: Sequence[Recipe], preferred: str, where: str
) -> Recipe | None:
    """The task whose values a label without names has; None where it could be one of several.

    Args:
        present: Values of the label, without the background.
        tasks: Recipes whose classes are known.
        preferred: Name of the task that counts where several fit.
        where: Named in errors.

    Raises:
        DataError: If no task has all of these values.
    """
    fitting = [task for task in tasks if set(present) <= _values(task)]
    if not fitting:
        known = [f"{entry.value} {entry.name}" for task in tasks for entry in task.labels]
        what = f"values {', '.join(map(str, present))} are not classes of a task"
        raise DataError(where, what, f"Known are {', '.join(known) or 'none'}")
    return fitting[0] if len(fitting) == 1 or fitting[0].name == preferred else None


def parts_of_names(names: Names, present: Sequence[int], tasks: Sequence[Recipe], where: str) -> list[Part]:
    """One part where a task knows all names, else one for each of the tasks that are needed to know them.

    Args:
        names: Of the segments. An empty one marks nothing, so its name need not be known.
        present: Values of the label, without the background.
        tasks: Recipes whose classes are known, the preferred one first.
        where: Named in errors.

    Raises:
        DataError: If a value has no name, or a name is unknown.
    """
    unnamed = [value for value in present if value not in names]
    if unnamed:
        raise DataError(where, f"value {unnamed[0]} has no name in label_info", "Name every segment")
    known = [(task, _meaning(names, task)) for task in tasks]
    for wanted in (set(names), set(present)):
        for task, meaning in known:
            if wanted <= set(meaning):
                return [Part(task, {value: meaning[value] for value in present})]
    left = {value for value in present if not any(value in meaning for _, meaning in known)}
    if left:
        what = f"segments {', '.join(repr(names[value][:40]) for value in sorted(left))} are not known"
        classes = list(dict.fromkeys(entry.name for task in tasks for entry in task.labels))
        raise DataError(where, what, f"Known names: {', '.join(classes) or 'none'}")
    parts, left = [], set(present)
    while left:
        task, meaning = max(known, key=lambda one: len(left & set(one[1])))
        parts.append(Part(task, {value: meaning[value] for value in present if value in meaning}))
        left -= set(meaning)
    return parts


def segment_names(file: Path) -> Names:
    """Values and names of the segments inside a `.seg.nrrd` file; empty for any other file."""
    return {one.value: one.name for one in segments_of(file)} if is_segmentation(file) else {}


def listed_names(listed: Any, present: Sequence[int], where: str) -> Names:
    """Values and names of `label_info`; empty where the client sent none.

    Slicer writes the k-th segment as value k, and counts segments in `idx` that it does not send. So `idx` is
    the value only where it is not ascending or the file has a value beyond the last segment.

    Raises:
        DataError: If it is no list of names and values.
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


def _meaning(names: Names, task: Recipe) -> dict[int, int]:
    """The class value in a task of every value whose name it knows."""
    return meant_by_names(names, {entry.name: entry.value for entry in task.labels}, task.name)


def _values(task: Recipe) -> set[int]:
    """The values of the classes of a task, and that of what is unknown."""
    return {UNKNOWN, *(entry.value for entry in task.labels)}


def classes_of_task(task: Recipe | None) -> list[dict[str, Any]]:
    """Name and value of each class of a task, `[{"name", "idx"}]`; none where it is not known which task it is."""
    return [{"name": entry.name, "idx": entry.value} for entry in task.labels] if task else []
