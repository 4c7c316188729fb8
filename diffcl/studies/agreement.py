"""How far the labels of two people agree on one scan."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import SimpleITK as sitk

from diffcl.data.partly_drawn import without_unknown
from diffcl.errors import ArchiveError, ScanError, UsageError
from diffcl.evaluation.metrics import evaluate_case
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.labels import LabelClass

logger = logging.getLogger(__name__)


def author(record: Mapping[str, Any]) -> str:
    """Who made a label: the user who had logged in, or the name that the viewer gives; empty where neither is known."""
    return str(record.get("user") or record.get("client_id") or "")


def agreement(
    label: sitk.Image, other: sitk.Image, labels: Sequence[LabelClass], record: Mapping[str, Any]
) -> dict[str, Any] | None:
    """How far a label agrees with that of somebody else, where both are known; None where their grids differ.

    Args:
        label: Class values on the grid of the scan.
        other: The label of the other person.
        labels: Classes of the task.
        record: Of the other label.

    Returns:
        `with_version`, `with_author`, and of each of the `classes` its `dice` (0..1) and `hd95_mm`, which is None where
        one of the labels lacks the class.
    """
    if not same_grid(Geometry.of(label), Geometry.of(other)):
        return None
    grid = Geometry.of(label)
    one, two = (grid.place(values) for values in without_unknown(voxels(label), voxels(other)))
    scores = evaluate_case(one, two, labels)
    return {
        "with_version": record.get("version"),
        "with_author": author(record),
        "classes": {
            entry.name: {
                "dice": round(score.dice, 4),
                "hd95_mm": round(score.hd95, 2) if math.isfinite(score.hd95) else None,
            }
            for entry, score in zip(labels, scores, strict=True)
        },
    }


def agreement_with_another(
    label: sitk.Image,
    labels: Sequence[LabelClass],
    author_of_it: str,
    versions: Sequence[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], sitk.Image],
    where: str,
) -> dict[str, Any] | None:
    """How far a label agrees with the newest one of somebody else; None where there is none, or it cannot be used.

    Args:
        label: Class values on the grid of the scan.
        labels: Classes of the task.
        author_of_it: Who made it, see `author`.
        versions: The records of the labels that the scan has for the task, oldest first.
        read: Gives the label of a record.
        where: Named in the log.
    """
    others = [record for record in versions if author(record) != author_of_it]
    if not others:
        return None
    try:
        other = read(others[-1])
    except (ScanError, UsageError, ArchiveError) as error:
        logger.warning(f"The labels of {where} cannot be compared: {error}")
        return None
    return agreement(label, other, labels, others[-1])


def mean_dice(record: Mapping[str, Any]) -> float:
    """The mean Dice of an agreement that stands in the record of a label; 1 where nobody else has outlined the scan."""
    found = record.get("agreement")
    classes = found.get("classes") if isinstance(found, dict) else None
    scores = [
        float(one["dice"])
        for one in (classes.values() if isinstance(classes, dict) else ())
        if isinstance(one, dict) and isinstance(one.get("dice"), int | float)
    ] or [1.0]
    return sum(scores) / len(scores)


def in_words(found: Mapping[str, Any] | None) -> str:
    """An agreement for people; empty where there is none.

    >>> in_words({"with_version": 1, "with_author": "ann", "classes": {"head": {"dice": 0.913, "hd95_mm": 2.5}}})
    'Agrees with version 1 by ann: head Dice 0.91, HD95 2.5 mm. Both are kept; approve the one that shall teach'
    """
    if not found:
        return ""
    told = [
        f"{name} Dice {one['dice']:.2f}"
        + (f", HD95 {one['hd95_mm']:.1f} mm" if one["hd95_mm"] is not None else "")
        for name, one in found["classes"].items()
    ]
    by = f" by {found['with_author']}" if found["with_author"] else ""
    return (
        f"Agrees with version {found['with_version']}{by}: {'; '.join(told)}. "
        "Both are kept; approve the one that shall teach"
    )
