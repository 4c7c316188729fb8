from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from diffcl.labels import OUTLINES, Color, LabelClass, distinct_colors

DEFAULT: Color = (230, 120, 80)

XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""From linear sRGB, IEC 61966-2-1."""

EYES = {
    "everybody": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""What somebody sees of linear sRGB. Source: Machado et al. 2009, A physiologically-based model for simulation of color
vision deficiency, severity 1."""


def seen(color: Color, eyes: str) -> NDArray[np.float64]:
    """A colour as somebody sees it, in CIELAB, where a difference of about two can be seen side by side."""
    share = np.array(color) / 255
    linear = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    x, y, z = np.cbrt(np.clip(XYZ @ np.clip(EYES[eyes] @ linear, 0, 1), 1e-3, 1) / XYZ.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def classes(*colors: Color | None) -> list[LabelClass]:
    """Classes of these colours; of the default one where there is none."""
    return [
        LabelClass(value=value, name=f"class {value}", **({"color": color} if color else {}))
        for value, color in enumerate(colors, start=1)
    ]


@pytest.mark.parametrize("eyes", EYES)
def test_thirteen_classes_without_a_colour_are_told_apart(eyes: str) -> None:
    colors = distinct_colors(classes(*[None] * 13)).values()
    apart = min(
        float(np.linalg.norm(seen(one, eyes) - seen(other, eyes))) for one, other in combinations(colors, 2)
    )
    assert apart > 10


@pytest.mark.parametrize("color", [DEFAULT, *OUTLINES])
def test_a_line_stands_out_from_a_black_picture(color: Color) -> None:
    assert seen(color, "everybody")[0] > 50


def test_a_colour_that_a_class_has_for_itself_stays() -> None:
    assert distinct_colors(classes((255, 0, 0), (0, 0, 255), (0, 255, 0))) == {
        1: (255, 0, 0), 2: (0, 0, 255), 3: (0, 255, 0),
    }  # fmt: skip


def test_no_class_gets_a_colour_like_that_of_another() -> None:
    near = tuple(channel - 10 for channel in OUTLINES[0])
    found = distinct_colors(classes(None, None, (near[0], near[1], near[2])))
    assert found[2] == OUTLINES[1]
    assert found[3] == near


def test_more_classes_than_colours_have_colours_all_the_same() -> None:
    found = distinct_colors(classes(*[None] * 40))
    assert len(found) == 40
    assert set(found.values()) == {DEFAULT, *OUTLINES}
