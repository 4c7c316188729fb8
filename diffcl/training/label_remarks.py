"""What a person should know of the labels that teach, before a training starts: what they lack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from diffcl.data.cache import TrainingScan
from diffcl.data.cases import in_words
from diffcl.errors import DataError
from diffcl.labels import UNKNOWN
from diffcl.recipe import Recipe


def label_remarks(scans: Sequence[TrainingScan], recipe: Recipe) -> tuple[str, ...]:
    """Sentences on labels that are empty, without background, partly drawn or with gaps, and on classes that they lack.

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
            f"every label that teaches is empty ({in_words(empty)})",
            "Outline what shall be found, and submit it",
        )
    remarks = []
    if empty:
        remarks.append(f"{in_words(empty)}: the label is empty, which teaches that there is nothing.")
    full = [scan.name for scan in scans if _is_full(scan)]
    if full:
        remarks.append(
            f"{in_words(full)}: no voxel of the label is background. Look whether it is the right file."
        )
    gaps = [f"{scan.name} ({scan.gaps})" for scan in scans if scan.gaps]
    if gaps:
        remarks.append(
            f"{in_words(gaps)}: between the slices that are drawn lie empty ones, which teach that nothing is there. "
            f"Where they are not drawn yet, give them the value {UNKNOWN}."
        )
    partly = [f"{scan.name} ({scan.drawn})" for scan in scans if scan.drawn]
    if partly:
        remarks.append(f"{in_words(partly)}: what is not drawn there counts as unlabelled.")
    remarks += [*_lost(scans, recipe), *_undrawn(scans, recipe)]
    rare = _rare(scans, found, recipe)
    if rare:
        remarks.append(
            f"{in_words(rare)}: the labels without it teach that it is not there. "
            'Where it is there, say missing = "not outlined" of it in the recipe.'
        )
    missing = [
        entry.name for entry in recipe.labels if not any(entry.value in values for values in found.values())
    ]
    if missing:
        remarks.append(f"{in_words(missing)}: in none of the labels that teach, so it is not learned.")
    return tuple(remarks)


def _lost(scans: Sequence[TrainingScan], recipe: Recipe) -> Iterator[str]:
    """Sentences on classes that are outlined, and too small for the working grid."""
    sizes = " x ".join(f"{size:g}" for size in recipe.grid.spacing)
    for entry in recipe.labels:
        if lost := [scan.name for scan in scans if entry.value in scan.lost]:
            what = (
                f"{entry.name} is smaller than the voxels of the training ({sizes} mm), so it teaches nothing"
            )
            yield f"{in_words(lost)}: {what}. Look at the voxel size in the header."


def _undrawn(scans: Sequence[TrainingScan], recipe: Recipe) -> Iterator[str]:
    """Sentences on classes that are not outlined."""
    for name in sorted({name for scan in scans for name in _not_outlined(scan, recipe)}):
        lacking = in_words([scan.name for scan in scans if name in _not_outlined(scan, recipe)])
        yield f"{lacking}: {name} is not outlined, so background there does not count as such."


def _rare(scans: Sequence[TrainingScan], found: Mapping[str, set[int]], recipe: Recipe) -> list[str]:
    """Classes that fewer than half of the labels have, of whole ones that are not empty, and how many these are."""
    told = []
    for entry in recipe.labels:
        whole = [scan for scan in scans if not scan.drawn and entry.value not in scan.unknown]
        saying = [found[scan.name] for scan in whole if found[scan.name]]
        having = sum(entry.value in values for values in saying)
        if 0 < 2 * having < len(saying):
            told.append(f"{entry.name} (in {having} of {len(saying)} labels)")
    return told


def _is_full(scan: TrainingScan) -> bool:
    """Whether every voxel of a whole label is of a class."""
    return scan.label is not None and not scan.drawn and bool(scan.label.bool().all())


def _classes(scan: TrainingScan, recipe: Recipe) -> set[int]:
    """Values of the classes in a label."""
    assert scan.label is not None
    counts = torch.bincount(scan.label.flatten().long(), minlength=recipe.classes)
    return {entry.value for entry in recipe.labels if counts[entry.value] > 0}


def _not_outlined(scan: TrainingScan, recipe: Recipe) -> list[str]:
    """Names of the classes that a label says nothing of."""
    return [entry.name for entry in recipe.labels if entry.value in {*scan.unknown} - {*scan.lost}]
