"""Which part of a submitted label is drawn, as its sender says. It is never guessed.

Voxels of the segment `UNKNOWN_NAME` are unknown. With the param `KNOWN`, or with an empty segment `UNKNOWN_SLICES`, so
is every slice in which nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diffcl.data.partly_drawn import drawn_in_words, holds_a_class, is_partly_drawn
from diffcl.errors import DataError
from diffcl.geometry import Geometry
from diffcl.inference.interactive.known import Known, decided
from diffcl.labels import UNKNOWN, UNKNOWN_NAME, UNKNOWN_SLICES, plain

PLANE: Final = "plane"
"""Among the params of a submission by slices: in which they are drawn, see `Plane`."""

KNOWN: Final = "known"
"""Among the params of a submission: `all` of the label by default, or `slices`, those in which something is drawn."""


def says_slices(info: Mapping[str, Any], names: Iterable[str], where: str) -> bool:
    """Whether a submission says that only slices are known in which something is drawn.

    Args:
        info: The client's params.
        names: Of the segments.
        where: Named in errors.

    Raises:
        DataError: If it says something else that nobody understands.
    """
    told = info.get(KNOWN, "all")
    if told not in ("all", "slices"):
        raise DataError(where, f"{KNOWN} is {str(told)[:40]!r}", "Say all or slices")
    return told == "slices" or any(plain(name) == UNKNOWN_SLICES for name in names)


def drawn_slices(labels: Sequence[NDArray[Any]], where: str, scan: Geometry, plane: Any = None) -> Known:
    """The slices in which something is drawn, in any of the labels `(X, Y, Z)` of several tasks.

    Args:
        labels: Of each task.
        where: Named in errors.
        scan: The grid.
        plane: What the param `PLANE` says; found by default.

    Raises:
        DataError: If nothing is drawn, or no slice.
        UsageError: If there is no such plane.
    """
    unknown = np.logical_and.reduce([label == UNKNOWN for label in labels])
    drawn = np.logical_or.reduce([(label > 0) & (label != UNKNOWN) for label in labels])
    return decided(drawn.astype(np.uint8), unknown, "slices", where, scan, plane or None)


def mark_unknown(label: NDArray[Any], known: Known | None, where: str, scan: Geometry) -> str:
    """Mark in a label `(X, Y, Z)` of one task what is unknown.

    Args:
        label: Changed in place.
        known: The drawn slices; None where the label itself says what is unknown.
        where: Named in errors.
        scan: The grid.

    Returns:
        How much of it is drawn, for people; empty where all of it is.

    Raises:
        DataError: If it has no class.
    """
    if known is not None:
        label[~known.mask] = UNKNOWN
    if is_partly_drawn(label) and not holds_a_class(label):
        raise DataError(where, "nothing is drawn beside what is unknown", "Draw in some slices")
    return drawn_in_words(label, scan)


def listed(classes: Sequence[dict[str, Any]], drawn: str) -> list[dict[str, Any]]:
    """Name and value of each class of a label, and of what is unknown where it is partly drawn.

    >>> listed([{"name": "head", "idx": 1}], "drawn on 5 of 40 axial slices")
    [{'name': 'head', 'idx': 1}, {'name': 'unknown', 'idx': 255}]

    Args:
        classes: `[{"name", "idx"}]`.
        drawn: See `mark_unknown`.
    """
    found = [entry for entry in classes if entry["idx"] != UNKNOWN]
    return [*found, {"name": UNKNOWN_NAME, "idx": UNKNOWN}] if drawn else found


def in_words(drawn: object) -> str:
    """What a partly drawn label is good for; empty for one that is drawn as a whole.

    >>> in_words("drawn on 5 of 40 axial slices")
    'It is drawn on 5 of 40 axial slices; the rest counts as unlabelled'
    >>> in_words("12 % of it is unknown")
    '12 % of it is unknown and counts as unlabelled'

    Args:
        drawn: See `mark_unknown`.
    """
    if not isinstance(drawn, str) or not drawn:
        return ""
    return (
        f"It is {drawn}; the rest counts as unlabelled"
        if drawn[0] == "d"
        else f"{drawn} and counts as unlabelled"
    )
