"""What a person should know of the labels that teach, before a training starts: what they lack."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffcl.data.cache import TrainingScan
from diffcl.errors import DataError
from diffcl.recipe import Recipe

TOLD = 5
"""Names in a sentence before it says how many more there are."""


def label_remarks(scans: Sequence[TrainingScan], recipe: Recipe) -> tuple[str, ...]:
    """Sentences on labels that are empty or partly drawn, on classes that are not outlined, and on those in no label.

    Args:
        scans: Those that teach with a label, at least one.
        recipe: Names the classes.

    Raises:
        DataError: If all labels are empty: there is nothing to learn.
    """
    found = {scan.name: _classes(scan, recipe) for scan in scans}
    empty = [scan.name for scan in scans if not found[scan.name] and not scan.unknown]
    if not any(found.values()):
        empty = list(found)
    if len(empty) == len(found):
        raise DataError(
            f"task {recipe.name}",
            f"every label that teaches is empty ({_listed(empty)})",
            "Outline what shall be found, and submit it",
        )
    remarks = []
    if empty:
        remarks.append(f"{_listed(empty)}: the label is empty, which teaches that there is nothing.")
    partly = [f"{scan.name} ({scan.drawn})" for scan in scans if scan.drawn]
    if partly:
        remarks.append(f"{_listed(partly)}: what is not drawn there counts as unlabelled.")
    unknown = {name for scan in scans for name in _not_outlined(scan, recipe)}
    for name in sorted(unknown):
        lacking = [scan.name for scan in scans if name in _not_outlined(scan, recipe)]
        remarks.append(
            f"{_listed(lacking)}: {name} is not outlined, so background there does not count as such."
        )
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


def _not_outlined(scan: TrainingScan, recipe: Recipe) -> list[str]:
    """Names of the classes that a label says nothing of."""
    return [entry.name for entry in recipe.labels if entry.value in scan.unknown]


def _listed(names: Sequence[str]) -> str:
    """Names with commas between them.

    >>> _listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more
