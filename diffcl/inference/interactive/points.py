"""Clicks: single voxels that a person says the class of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from diffcl.errors import DataError, UsageError, short, unknown_name
from diffcl.inference.interactive.known import Known

BACKGROUND: Final = "background"
"""Name by which a click says that no class is there."""

MOST: Final = 1000
"""Clicks on one scan; who needs more should draw."""


def clicks_of(
    request: Mapping[str, Any], classes: Collection[str], others: Collection[str]
) -> dict[str, list[Any]]:
    """The lists of a viewer's request that are clicks: of each class by name, and of `BACKGROUND`.

    Args:
        request: What the viewer sent: clicks, also those of other models and empty lists of them, and options.
        classes: Names of the classes.
        others: Names of other models' classes, and of options.

    Raises:
        UsageError: If the clicks of a class are no list.
        NotFoundError: If there are clicks of a class that nobody knows.
    """
    points = {}
    for name in (BACKGROUND, *classes):
        found = request.get(name) or []
        if not isinstance(found, list):
            raise UsageError(f"clicks of {name}", f"{str(found)[:40]} is no list", "Give [[i, j, k], ...]")
        points[name] = found
    for name, value in request.items():
        clicks = isinstance(value, list) and value and isinstance(value[0], list)
        if clicks and name not in points and name not in others:
            raise unknown_name("class", name, points)
    return points


def read_points(
    points: Mapping[str, Iterable[Any]], names: Mapping[str, int], size: tuple[int, ...], where: object
) -> Known:
    """What clicks decide.

    Args:
        points: Of each class by name, or `BACKGROUND`, the voxel indices `(i, j, k)` of its clicks.
        names: Names and values of the classes.
        size: Voxels of the scan along each axis.
        where: The scan; named in errors.

    Raises:
        NotFoundError: If a name is none.
        UsageError: If these are no clicks by class, an index is not three whole numbers or lies outside the scan, two
            clicks contradict each other, or there are more than `MOST`.
    """
    check_clicks(points, where)
    values = {BACKGROUND: 0, **names}
    decided: dict[tuple[int, ...], str] = {}
    for name, places in points.items():
        if name not in values:
            raise unknown_name("class", name, values)
        for place in places:
            index = _index(place, size, f"{where}, click of {name}")
            other = decided.setdefault(index, name)
            if other != name:
                raise UsageError(where, f"voxel {list(index)} was clicked as {other} and as {name}",
                                 "Take one of the two clicks away")  # fmt: skip
            if len(decided) > MOST:
                raise UsageError(where, f"more than {MOST} clicks", "Draw instead of clicking")
    classes, mask = np.zeros(size, np.uint8), np.zeros(size, bool)
    for index, name in decided.items():
        classes[index], mask[index] = values[name], True
    told = f"Known {'is' if len(decided) == 1 else 'are'} {len(decided)} clicked voxel{'s' * (len(decided) != 1)}"
    return Known(classes, mask, {}, told)


def check_clicks(points: Any, where: object) -> None:
    """Refuse what is no mapping from names to lists; what the lists hold is looked at by `read_points`.

    Args:
        points: What somebody gave as clicks.
        where: The scan; named in errors.

    Raises:
        UsageError: If it is none.
    """
    form = f'Give them by class, as in {{"{BACKGROUND}": [[12, 40, 7]]}}'
    if not isinstance(points, Mapping):
        raise UsageError(f"{where}, clicks", f"{short(points)} names no class", form)
    for name, places in points.items():
        if not isinstance(places, Iterable) or isinstance(places, str | bytes | Mapping):
            raise UsageError(f"{where}, clicks of {short(name)}", f"{short(places)} is no list", form)


def _index(place: Any, size: tuple[int, ...], where: str) -> tuple[int, ...]:
    try:
        numbers = [float(number) for number in place]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 3 or isinstance(place, str | bytes) or not all(map(float.is_integer, numbers)):
        raise UsageError(where, f"{short(place)} is no voxel", "Give three whole numbers, as [12, 40, 7]")
    index = tuple(map(int, numbers))
    if not all(0 <= i < count for i, count in zip(index, size, strict=True)):
        raise UsageError(where, f"{short(list(index))} lies outside the scan of {' x '.join(map(str, size))} voxels",
                         "Count voxels from 0, along the axes of the file")  # fmt: skip
    return index


def together(drawn: Known, clicked: Known, where: object) -> Known:
    """What is drawn and what is clicked on one scan.

    Raises:
        DataError: If a click says something else than what is drawn there.
    """
    both = drawn.mask & clicked.mask & (drawn.classes != clicked.classes)
    if both.any():
        index = [int(i[0]) for i in np.nonzero(both)]
        raise DataError(where, f"what is clicked at voxel {index} is not what is drawn there",
                        "Take the click away, or draw it anew")  # fmt: skip
    told = f"{drawn.told}; {clicked.told.removeprefix('Known ').removeprefix('is ').removeprefix('are ')}"
    return replace(
        drawn, classes=np.maximum(drawn.classes, clicked.classes), mask=drawn.mask | clicked.mask, told=told
    )
