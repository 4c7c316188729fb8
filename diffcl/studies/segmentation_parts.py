"""What the segmentations of a series have of each task: one may hold the classes of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from diffcl.labels import UNKNOWN, UNKNOWN_NAME
from diffcl.recipe import Recipe
from diffcl.studies.label_parts import names_of
from diffcl.studies.segmentations import Segmentation


@dataclass(frozen=True)
class Part:
    """What a segmentation has of one task.

    Attributes:
        segmentation: The segmentation.
        task: The task.
        number: Of the segmentation among those of its series, from 1.
    """

    segmentation: Segmentation
    task: Recipe
    number: int

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Name and value of each class, and of what is unknown."""
        found = [{"name": label.name, "idx": label.value} for label in self.task.labels]
        unknown = {"name": UNKNOWN_NAME, "idx": UNKNOWN}
        return [*found, unknown] if self.partly else found

    @property
    def partly(self) -> bool:
        """Whether a segment says what nobody has decided."""
        return len(self.segmentation.drawn(self.task)) < len(self.segmentation.segments)


def parts_of(
    segmentations: Sequence[Segmentation], tasks: Sequence[Recipe], told: Callable[[str], object]
) -> list[Part]:
    """The parts of segmentations, in their order.

    Args:
        segmentations: Of one series, oldest first.
        tasks: Those that are known.
        told: Gives the name of the task that was written down for a segmentation, by its uid; anything else for none.
    """
    found = []
    for number, one in enumerate(segmentations, start=1):
        own = [task for task in tasks if task.name == told(one.uid) and one.task([task])]
        found += [Part(one, task, number) for task in own or one.tasks(tasks)]
    return found


def newest_of_each(parts: Sequence[Part]) -> list[Part]:
    """The newest part of each task, the oldest of them first."""
    found: dict[str, Part] = {}
    for part in parts:
        found.pop(part.task.name, None)
        found[part.task.name] = part
    return list(found.values())


def listed(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Name and value of each class of a map of several parts, see `combined`."""
    return names_of([(part.task.name, part.classes) for part in parts])
