from __future__ import annotations

import pytest

from diffcl.io.images.integrity import NO_VOXEL_SIZE
from diffcl.planning.differences import differences
from diffcl.planning.survey import ScanFacts, Survey


def survey(*spacings: tuple[float, float, float], guesses: tuple[str, ...] = ()) -> Survey:
    found = [
        ScanFacts(
            name=f"p{number}", spacing=spacing, extent=(200.0, 200.0, 200.0), lowest=0.0, guesses=guesses
        )
        for number, spacing in enumerate(spacings)
    ]
    return Survey(found, [])


@pytest.mark.parametrize(
    "spacings", [[(1.0, 1.0, 5.0)], [(0.6, 0.6, 5.0), (1.0, 1.0, 9.0)], [(1.0, 1.0, 1.0), (1.2, 1.0, 1.0)]]
)
def test_scans_that_are_much_alike_need_no_word(spacings: list[tuple[float, float, float]]) -> None:
    assert differences(survey(*spacings)) == ""


def test_voxel_sizes_far_apart_are_told() -> None:
    told = differences(survey((0.4, 0.4, 3.0), (1.5, 1.5, 4.0), (1.5, 1.5, 12.0)))
    assert (
        told == " They differ, from 0.4 x 0.4 x 3 to 1.5 x 1.5 x 12 mm: see whether all belong to the task."
    )


def test_slices_of_several_planes_are_told() -> None:
    told = differences(survey((1.0, 1.0, 6.0), (1.0, 6.0, 1.0), (1.0, 1.0, 6.0), (1.0, 1.0, 1.0)))
    assert "Slices of coronal (p1) and of axial planes are mixed" in told


def test_a_voxel_size_that_nobody_states_is_told() -> None:
    assert differences(survey((1.0, 1.0, 1.0), guesses=(NO_VOXEL_SIZE,))).startswith(f" p0: {NO_VOXEL_SIZE}.")
