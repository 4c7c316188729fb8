"""Known parts are whole slices of few planes, or places, as people draw and click them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diffcl.diffusion.known_parts import GAP_MM, LARGEST_MM, MOST_PLACES, PLACES, draw_known

SIZE = (24, 20, 12)
MAPS = 200


def known_parts(spacing: tuple[float, float, float], wrong: Tensor | None = None, seed: int = 0) -> Tensor:
    classes = torch.zeros(MAPS, *SIZE, dtype=torch.int64)
    classes[:, 8:14, 6:12, 3:9] = 1
    wrong = torch.zeros(classes.shape, dtype=torch.bool) if wrong is None else wrong
    return draw_known(classes, wrong, spacing, torch.Generator().manual_seed(seed))


def whole_slices(known: Tensor, axis: int) -> list[int]:
    """Slices across an axis of which every voxel is known."""
    others = [other for other in range(3) if other != axis]
    return torch.nonzero(known.all(dim=max(others)).all(dim=min(others)))[:, 0].tolist()


def planes(known: Tensor) -> dict[int, list[int]]:
    return {axis: found for axis in range(3) if (found := whole_slices(known, axis))}


def test_known_are_whole_slices_of_a_plane_or_two_or_places() -> None:
    parts = known_parts((1.0, 1.0, 1.0))
    counts = [0, 0, 0]
    for known in parts:
        found = planes(known)
        counts[len(found)] += 1
        rebuilt = torch.zeros_like(known)
        for axis, slices in found.items():
            rebuilt.movedim(axis, 0)[slices] = True
        if found:
            assert (rebuilt == known).all()
        else:
            assert 0 < known.sum() <= MOST_PLACES * (2 * LARGEST_MM + 1) ** 3
    assert counts[0] == pytest.approx(PLACES * MAPS, abs=25)
    assert 0 < counts[2] < counts[1]


def test_slices_lie_apart_by_millimetres_whatever_the_voxels_are() -> None:
    for spacing in ((1.0, 1.0, 1.0), (1.5, 1.5, 8.0)):
        for known in known_parts(spacing):
            for axis, slices in planes(known).items():
                for first, second in pairwise(slices):
                    assert (second - first) * spacing[axis] <= max(
                        GAP_MM[1], 2 * spacing[axis]
                    ) * 1.4 + spacing[axis]


def test_thick_slices_are_the_ones_that_are_drawn() -> None:
    axes = [next(iter(found)) for known in known_parts((1.0, 1.0, 8.0)) if len(found := planes(known)) == 1]
    assert axes.count(2) / len(axes) == pytest.approx(0.8, abs=0.08)


def test_half_of_the_places_lie_where_a_network_was_wrong() -> None:
    wrong = torch.zeros(MAPS, *SIZE, dtype=torch.bool)
    wrong[:, 20, 3, 10] = True
    places = [known for known in known_parts((4.0, 4.0, 4.0), wrong) if not planes(known)]
    assert len(places) > 20
    assert all(known[20, 3, 10] for known in places)


def test_the_same_numbers_draw_the_same_parts() -> None:
    assert (known_parts((1.0, 1.0, 2.0)) == known_parts((1.0, 1.0, 2.0))).all()
    assert (known_parts((1.0, 1.0, 2.0)) != known_parts((1.0, 1.0, 2.0), seed=1)).any()
