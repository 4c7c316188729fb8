"""How far the labels of two people agree on one scan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import SimpleITK as sitk

from diffcl.evaluation.metrics import evaluate_case
from diffcl.geometry import Geometry, same_grid
from diffcl.labels import LabelClass


def author(record: Mapping[str, Any]) -> str:
    """Who made a label: the user who had logged in, or the name that the viewer gives; empty where neither is known."""
    return str(record.get("user") or record.get("client_id") or "")


def agreement(
    label: sitk.Image, other: sitk.Image, labels: Sequence[LabelClass], record: Mapping[str, Any]
) -> dict[str, Any] | None:
    """How far a label agrees with that of somebody else; None where they lie on different grids.

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
    scores = evaluate_case(label, other, labels)
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


def mean_dice(record: Mapping[str, Any]) -> float:
    """The mean Dice of an agreement that stands in the record of a label; 1 where nobody else has outlined the scan."""
    found = record.get("agreement")
    classes = found.get("classes") if isinstance(found, dict) else None
    scores = [one["dice"] for one in classes.values()] if isinstance(classes, dict) and classes else [1.0]
    return float(sum(scores) / len(scores))


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
