"""In what the scans of a task differ so far from each other that whoever reads a plan should know it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffcl.data.cases import in_words
from diffcl.data.guesses import guess_remarks
from diffcl.data.partly_drawn import PLANES
from diffcl.planning.survey import SLICES, ScanFacts, Survey

FAR = 2.0
"""Voxels of some scans are this many times as long along an axis as those of others, where both are told."""


def differences(found: Survey) -> str:
    """Sentences on voxel sizes far apart or unknown and on slices of several planes, each after a blank; or nothing.

    Args:
        found: The scans, measured along the axes of the patient.
    """
    told = [*_sizes(found.scans), *_planes(found.scans)]
    told += guess_remarks({scan.name: scan.guesses for scan in found.scans})
    return "".join(f" {sentence}" for sentence in told)


def _sizes(scans: Sequence[ScanFacts]) -> list[str]:
    every = np.array([scan.spacing for scan in scans])
    low, high = every.min(axis=0), every.max(axis=0)
    if (high < FAR * low).all():
        return []
    ends = (" x ".join(f"{length:.3g}" for length in side) for side in (low, high))
    return [f"They differ, from {' to '.join(ends)} mm: see whether all belong to the task."]


def _planes(scans: Sequence[ScanFacts]) -> list[str]:
    """Which scans lie in another plane than most, of those that consist of slices."""
    of_plane: dict[str, list[str]] = {}
    for scan in scans:
        middle, longest = sorted(scan.spacing)[1:]
        if longest > SLICES * middle:
            of_plane.setdefault(PLANES[scan.spacing.index(longest)], []).append(scan.name)
    *few, (most, _) = sorted(of_plane.items(), key=lambda one: len(one[1])) or [("", [])]
    told = " and ".join(f"{plane} ({in_words(names)})" for plane, names in few)
    return (
        [f"Slices of {told} and of {most} planes are mixed: what is fine in one is coarse in the other."]
        if few
        else []
    )
