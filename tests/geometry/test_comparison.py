from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffcl.geometry import GRID_TOLERANCE_MM, Geometry, difference, filled_up, place_in, voxels

OBLIQUE = Geometry(
    (9, 11, 7), (0.7, 0.9, 2.5), (-31.5, 12.25, 101.125),
    tuple(Rotation.from_euler("xyz", (0.3, -0.2, 0.5)).as_matrix().ravel()),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": (9, 11, 8)}, "its size 9 x 11 x 7 against 9 x 11 x 8"),
        ({"spacing": (0.7, 0.9, 2.502)}, "its voxels 0.7 x 0.9 x 2.5 against 0.7 x 0.9 x 2.502 mm"),
        ({"origin": (-31.5, 12.25, 101.14)}, "its position (-31.5, 12.25, 101.12) against (-31.5, 12.25, 101.14) mm"),
        ({"direction": tuple((OBLIQUE.axes * (1, -1, 1)).ravel())}, "its axes LPS against LAS"),
        ({"direction": tuple((Rotation.from_euler("z", 0.01).as_matrix() @ OBLIQUE.axes).ravel())}, "turned by 0.57"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_tells_two_grids_apart_is_named_with_digits_that_show_it(
    changes: dict[str, object], told: str
) -> None:
    assert difference(OBLIQUE, replace(OBLIQUE, **changes)).startswith(told)


def test_what_file_formats_round_is_no_difference() -> None:
    x, y, z = OBLIQUE.origin
    assert difference(OBLIQUE, replace(OBLIQUE, origin=(x, y, z + GRID_TOLERANCE_MM / 2))) == ""


def test_a_label_on_a_part_of_a_grid_is_put_where_that_part_lies() -> None:
    box = (slice(2, 6), slice(0, 11), slice(3, 5))
    values = np.random.default_rng(1).integers(1, 4, (4, 11, 2)).astype(np.uint8)
    whole = np.zeros(OBLIQUE.size, np.uint8)
    whole[box] = values
    filled = filled_up(OBLIQUE.part(box).place(values), OBLIQUE)
    assert Geometry.of(filled) == OBLIQUE
    np.testing.assert_array_equal(voxels(filled), whole)


def test_a_grid_half_a_voxel_aside_is_no_part_of_another_one() -> None:
    aside = replace(OBLIQUE, size=(4, 4, 4), origin=tuple(OBLIQUE.points((1.5, 1, 1)).tolist()))
    assert place_in(aside, OBLIQUE) is None
    assert place_in(replace(OBLIQUE, size=(9, 11, 8)), OBLIQUE) is None
