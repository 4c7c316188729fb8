"""Clicks are read in the words of a person, and what is none is refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffcl.errors import DiffclError
from diffcl.geometry import Geometry
from diffcl.inference.interactive.known import read_known
from diffcl.inference.interactive.points import MOST, read_points, together

SIZE = (24, 20, 18)
NAMES = {"head": 1, "tail": 2}


def test_clicks_are_known_voxels() -> None:
    known = read_points(
        {"head": [[1, 2, 3], [4.0, 5.0, 6.0]], "background": [[7, 8, 9]], "tail": []}, NAMES, SIZE, "s"
    )
    assert known.mask.sum() == 3
    assert (known.classes[1, 2, 3], known.classes[4, 5, 6], known.classes[7, 8, 9]) == (1, 1, 0)
    assert known.told == "Known are 3 clicked voxels"


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ({"heart": [[1, 2, 3]]}, "class heart: there is none of that name. Known: background, head, tail"),
        ({"head": [[1, 2]]}, r"s, click of head: \[1, 2\] is no voxel. Give three whole numbers"),
        ({"head": [[1, 2, 2.5]]}, "is no voxel"),
        ({"head": ["abc"]}, "is no voxel"),
        ({"head": [7]}, "is no voxel"),
        ({"head": [[1, 2, float("nan")]]}, "is no voxel"),
        ({"head": [[1, 2, float("inf")]]}, "is no voxel"),
        ({"head": [[10**400, 1, 1]]}, "is no voxel"),
        ({"head": [[10**5000, 1, 1]]}, "a number without end is no voxel"),
        ({"head": [[1e300, 1, 1]]}, r"lies outside the scan"),
        ({"head": [b"abc"]}, "is no voxel"),
        ({"head": None}, "s, clicks of head: None is no list. Give them by class"),
        ({"head": 7}, "clicks of head: 7 is no list"),
        ({"head": "abc"}, "clicks of head: abc is no list"),
        ([[1, 2, 3]], r"s, clicks: \[\[1, 2, 3\]\] names no class. Give them by class, as in"),
        (7, "clicks: 7 names no class"),
        ({"head": [[-1, 2, 3]]}, "lies outside the scan of 24 x 20 x 18 voxels"),
        ({"head": [[24, 2, 3]]}, "lies outside the scan"),
        ({"head": [[1, 2, 3]], "tail": [[1, 2, 3]]}, r"voxel \[1, 2, 3\] was clicked as head and as tail"),
        ({"head": [[i // 360, i // 18 % 20, i % 18] for i in range(MOST + 1)]}, "more than 1000 clicks"),
    ],
    ids=[
        "name",
        "two",
        "half",
        "text",
        "number",
        "nan",
        "infinite",
        "beyond all numbers",
        "beyond all words",
        "beyond all scans",
        "bytes",
        "none for a list",
        "number for a list",
        "text for a list",
        "list",
        "number for all",
        "negative",
        "beyond",
        "contradiction",
        "many",
    ],
)
def test_what_is_no_click_is_refused(points: Any, said: str) -> None:
    with pytest.raises(DiffclError, match=said):
        read_points(points, NAMES, SIZE, "s")


def test_a_click_against_what_is_drawn_is_refused() -> None:
    grid = Geometry(SIZE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    label = np.zeros(SIZE, np.uint8)
    label[4:9, 4:9, 7] = 1
    drawn = read_known(grid.place(label), grid, "label")
    clicked = read_points({"tail": [[5, 5, 9]]}, NAMES, SIZE, "s")
    assert together(drawn, clicked, "s").mask.sum() == drawn.mask.sum() + 1
    assert together(drawn, clicked, "s").told.endswith("background included; 1 clicked voxel")
    with pytest.raises(DiffclError, match=r"what is clicked at voxel \[5, 5, 7\] is not what is drawn there"):
        together(drawn, read_points({"tail": [[5, 5, 7]]}, NAMES, SIZE, "s"), "s")
