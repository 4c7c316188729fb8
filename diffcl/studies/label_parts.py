"""Labels of several tasks on one scan, as one map for viewers, and what lies under another part of that map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import DataError
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.labels import UNKNOWN, UNKNOWN_NAME, distinct_names, name_in_task

LARGEST = 255
"""Value of a class, at most: labels have 8 bits a voxel."""


@dataclass(frozen=True)
class TaskLabel:
    """The label of a scan for one task.

    Attributes:
        task: Name of the task.
        label: Values of its classes on the scan's grid, uint8.
        classes: Name and value of each class, `[{"name", "idx"}]`.
    """

    task: str
    label: sitk.Image
    classes: Sequence[dict[str, Any]]


def combined(parts: Sequence[TaskLabel]) -> tuple[sitk.Image, list[dict[str, Any]]]:
    """One map of the labels of several tasks, with values 1..N without a gap and names that differ.

    The tasks stand in alphabetical order. A name that two of them have gets the name of the task behind it. What is
    unknown is seen where no task has a class.

    Args:
        parts: At least one, the oldest first: where they overlap, the newer one is seen. One that lies on another grid
            than the newest, because the scan was replaced, is left out.

    Returns:
        The map, and name and value of each class.

    Raises:
        DataError: If there are more classes than values.
    """
    grid = Geometry.of(parts[-1].label)
    parts = [part for part in parts if same_grid(Geometry.of(part.label), grid)]
    ordered = sorted(parts, key=lambda one: one.task)
    classes = [(part.task, entry["idx"]) for part in ordered for entry in part.classes]
    values = {one: value for value, one in enumerate(classes, start=1)}
    listed = names_of([(part.task, part.classes) for part in parts])
    if len(listed) > LARGEST:
        raise DataError("labels of the scan", f"have {len(listed)} classes together, more than {LARGEST}")
    seen = grid.zeros(np.uint8)
    for part in parts:
        own = voxels(part.label)
        for entry in part.classes:
            place = own == entry["idx"]
            if entry["idx"] == UNKNOWN:
                place &= seen == 0
            seen[place] = values[part.task, entry["idx"]]
    return grid.place(seen), listed


def classes_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name and value of each class of the label of a version itself; none where they are not known."""
    listed = record.get("classes", record.get("label_info"))
    if not isinstance(listed, list):
        return []
    return [entry for entry in listed if isinstance(entry, dict) and {"name", "idx"} <= entry.keys()]


def names_of(tasks: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Name and value of each class of a map of several tasks, `[{"name", "idx"}]`.

    What is unknown has the name of its task behind it, as it may be known of the others.

    Args:
        tasks: Name of each task, and name and value of each of its classes.
    """
    ordered = sorted(tasks, key=lambda one: one[0])
    names = [
        (
            task,
            [
                name_in_task(UNKNOWN_NAME, task)
                if entry["idx"] == UNKNOWN and len(tasks) > 1
                else entry["name"]
                for entry in classes
            ],
        )
        for task, classes in ordered
    ]
    named = distinct_names(names)
    found = [name for names in named for name in names]
    return [{"name": name, "idx": value} for value, name in enumerate(found, start=1)]


def with_hidden(new: Mapping[str, NDArray[Any]], old: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The labels of several tasks that came as one map, with what another part of the map hid put back.

    A voxel of a task was hidden where it had a class before, has none now, and another task has the class there that it
    had before as well. What was unknown of a task stays so where another task has a class now, or was unknown too: the
    map shows one of them alone.

    >>> new = {"heart": np.array([0, 0, 1]), "atrium": np.array([1, 0, 0])}
    >>> with_hidden(new, {"heart": np.array([1, 1, 1]), "atrium": np.array([1, 0, 0])})["heart"]
    array([1, 0, 1])

    Args:
        new: Class values by task, all of the same shape.
        old: Those that the tasks had before; of a task that had none, none.
    """
    found = {}
    for task, values in new.items():
        before = old.get(task)
        kept = values.copy()
        if before is not None:
            for other, above in new.items():
                if other != task and other in old:
                    hidden = (values == 0) & (before != 0) & (above != 0) & (above == old[other])
                    kept[hidden] = before[hidden]
                    covered = (above != 0) | (old[other] == UNKNOWN)
                    kept[(values == 0) & (before == UNKNOWN) & covered] = UNKNOWN
        found[task] = kept
    return found
