"""What a person should know of the labels that teach, before a training starts: empty ones, and classes in none."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffcl.data.cache import TrainingScan
from diffcl.errors import DataError
from diffcl.recipe import Recipe

TOLD = 5
"""Names in a sentence before it says how many more there are."""


def label_remarks(scans: Sequence[TrainingScan], recipe: Recipe) -> tuple[str, ...]:
    """One sentence on the labels that are empty, and one on the classes that are in none of the labels.

    Args:
        scans: Those that teach with a label, at least one.
        recipe: Names the classes.

    Raises:
        DataError: If all labels are empty: there is nothing to learn.
    """
    found = {scan.name: _classes(scan, recipe) for scan in scans}
    empty = [name for name, values in found.items() if not values]
    if len(empty) == len(found):
        raise DataError(
            f"task {recipe.name}",
            f"every label that teaches is empty ({_listed(empty)})",
            "Outline what shall be found, and submit it",
        )
    remarks = []
    if empty:
        remarks.append(f"{_listed(empty)}: the label is empty, which teaches that there is nothing.")
    missing = [
        entry.name for entry in recipe.labels if not any(entry.value in values for values in found.values())
    ]
    if missing:
        remarks.append(f"{_listed(missing)}: in none of the labels that teach, so it is not learned.")
    return tuple(remarks)


def _classes(scan: TrainingScan, recipe: Recipe) -> set[int]:
    """Values of the classes in a label."""
    assert scan.label is not None
    counts = torch.bincount(scan.label.flatten().long(), minlength=recipe.classes)
    return {entry.value for entry in recipe.labels if counts[entry.value] > 0}


def _listed(names: Sequence[str]) -> str:
    """Names with commas between them.

    >>> _listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more
