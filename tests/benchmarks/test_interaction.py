"""The simulated annotator draws in the middles of equal parts, and clicks at the deepest place of what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def interaction(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import interaction

    yield interaction
    del sys.modules["interaction"]


def cube(first: int, last: int) -> np.ndarray:
    label = np.zeros((20, 20, 20), np.uint8)
    label[first:last, first:last, first:last] = 1
    return label


def test_slices_are_the_middles_of_equal_parts(interaction: ModuleType) -> None:
    assert interaction.chosen_slices(cube(4, 16), 2, 3) == [6, 10, 14]
    assert interaction.chosen_slices(cube(4, 6), 0, 5) == [4, 5]


def test_a_click_goes_into_the_middle_of_the_largest_error(interaction: ModuleType) -> None:
    label, truth = cube(4, 16), cube(4, 16)
    label[6:11, 6:11, 6:11] = 0
    label[0, 0, 0] = 1
    assert interaction.next_click(label, truth, (1.0, 1.0, 1.0)) == ((8, 8, 8), 1)
    assert interaction.next_click(truth, truth, (1.0, 1.0, 1.0)) is None


def test_dice_is_the_mean_over_the_classes(interaction: ModuleType) -> None:
    truth = cube(4, 8)
    truth[10:12] = 2
    assert interaction.dice(truth, truth, 3) == 1
    assert interaction.dice(np.where(truth == 2, 0, truth), truth, 3) == 0.5


def test_known_voxels_stay_with_the_random_walker_too(interaction: ModuleType) -> None:
    from diffcl.geometry import Geometry
    from diffcl.io import Scan

    grid = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    values = np.random.default_rng(0).normal(cube(4, 16) * 100.0, 5).astype(np.float32)
    scan = Scan(grid.place(values), "cube", Path("cube.nii.gz"))
    classes, mask = np.zeros((20, 20, 20), np.uint8), np.zeros((20, 20, 20), bool)
    classes[14, 10, 10], mask[14, 10, 10] = 1, True
    proposal = cube(4, 16)
    proposal[13:] = 0
    found = interaction.by_random_walker(scan, proposal, classes, mask, 2)
    assert found[14, 10, 10] == 1
    assert (found != cube(4, 16)).sum() < (proposal != cube(4, 16)).sum()


def test_known_voxels_stay_with_the_graph_cut_too(interaction: ModuleType) -> None:
    from diffcl.geometry import Geometry
    from diffcl.io import Scan

    grid = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    truth = cube(4, 16)
    truth[10:16][truth[10:16] == 1] = 2
    values = np.random.default_rng(0).normal(truth * 100.0, 5).astype(np.float32)
    scan = Scan(grid.place(values), "cube", Path("cube.nii.gz"))
    mask = np.zeros(truth.shape, bool)
    mask[..., [6, 13]] = True
    classes = np.where(mask, truth, 0).astype(np.uint8)
    classes[5, 5, 6] = 0  # as a person may see it
    found = interaction.by_graph_cut(scan, classes, mask, 3)
    assert (found[mask] == classes[mask]).all()
    assert interaction.dice(found, truth, 3) > 0.95
