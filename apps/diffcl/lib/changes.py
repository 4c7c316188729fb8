"""What an annotator changed in a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from diffcl.geometry import voxels
from lib.submission import Proposal, Submission


def compare(
    before: NDArray[Any], after: NDArray[Any], classes: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Of each class the voxels that were added and removed, and the Dice of before and after.

    >>> import numpy as np
    >>> compare(np.array([1, 1, 1, 0, 2]), np.array([1, 1, 0, 1, 2]), {"head": 1, "tail": 2})["head"]
    {'added': 1, 'removed': 1, 'dice': 0.6667}

    Args:
        before: Class values.
        after: Class values, same shape.
        classes: Name and value of each class. One that is in neither has a Dice of 1.
    """
    found: dict[str, dict[str, float]] = {}
    for name, value in classes.items():
        one, other = before == value, after == value
        both, total = int((one & other).sum()), int(one.sum() + other.sum())
        found[name] = {
            "added": int(other.sum()) - both,
            "removed": int(one.sum()) - both,
            "dice": round(2 * both / total, 4) if total else 1.0,
        }
    return found


def started_from(
    about: dict[str, Any] | None, checked: Submission, proposal: Proposal | None
) -> dict[str, Any] | None:
    """What is known of the proposal and, where the label is of the same task, what was changed in it."""
    if about is None or proposal is None or proposal.label is None or checked.task != proposal.task:
        return about
    classes = {entry["name"]: entry["idx"] for entry in checked.classes}
    return {**about, "changes": compare(proposal.label, voxels(checked.label), classes)}


def in_words(began: Mapping[str, Any] | None) -> str:
    """What was changed in a proposal, for people; empty where that is not known.

    >>> changes = {"head": {"added": 12, "removed": 3, "dice": 0.9712}, "tail": {"added": 0, "removed": 0, "dice": 1.0}}
    >>> in_words({"model": "organ", "version": 3, "changes": changes})
    'Changed in the proposal of organ version 3: head 12 voxels added, 3 removed, Dice 0.97; tail nothing'

    Args:
        began: What `started_from` gave.
    """
    if not began or not began.get("changes"):
        return ""
    told = [
        f"{name} {change['added']} voxels added, {change['removed']} removed, Dice {change['dice']:.2f}"
        if change["added"] or change["removed"]
        else f"{name} nothing"
        for name, change in began["changes"].items()
    ]
    return f"Changed in the proposal of {began['model']} version {began['version']}: {'; '.join(told)}"
