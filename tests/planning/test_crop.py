from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from diffcl.data.cache import TrainingScan
from diffcl.planning.crop import CROP_VOXELS, fitted
from diffcl.recipe import Recipe, load_recipe, parse_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ORGAN = {"name": "organ", "labels": [{"value": 1, "name": "organ"}]}


def scans(*sizes: tuple[int, int, int]) -> list[TrainingScan]:
    return [TrainingScan("scan", torch.zeros(1, *size), None) for size in sizes]


def recipe(**grid: object) -> Recipe:
    return parse_recipe({**ORGAN, "grid": {"spacing": [1.0, 1.0, 2.0], **grid}}, "test")


@pytest.mark.parametrize(
    ("sizes", "crop"),
    [
        ([(35, 51, 35)], (32, 48, 32)),
        ([(33, 47, 38), (37, 57, 41), (40, 50, 39)], (40, 48, 40)),
        ([(3, 40, 5)], (8, 40, 8)),
    ],
    ids=["one", "the median of several", "at least what the networks halve"],
)
def test_a_crop_is_about_a_whole_scan(sizes: list[tuple[int, int, int]], crop: tuple[int, int, int]) -> None:
    grid = fitted(recipe(), scans(*sizes)).grid
    assert grid.crop == grid.window == crop


def test_of_large_scans_a_crop_has_the_shape_and_a_bounded_number_of_voxels() -> None:
    x, y, z = fitted(recipe(), scans((320, 320, 80))).grid.crop
    assert x == y > 2 * z
    assert math.prod((x, y, z)) == pytest.approx(CROP_VOXELS, rel=0.3)


def test_what_a_recipe_says_counts() -> None:
    assert fitted(load_recipe("hippocampus"), scans((100, 100, 100))) == load_recipe("hippocampus")
    grid = fitted(recipe(crop=[16, 16, 16]), scans((100, 100, 100))).grid
    assert grid.crop == grid.window == (16, 16, 16)
    grid = fitted(recipe(window=[64, 64, 64]), scans((24, 24, 24))).grid
    assert (grid.crop, grid.window) == ((24, 24, 24), (64, 64, 64))


def test_what_was_chosen_is_kept_by_other_changes() -> None:
    first = fitted(recipe().changed(training={"steps": 400}), scans((24, 24, 24)))
    again = fitted(first.changed(training={"seed": 1}), scans((80, 80, 80)))
    assert again.grid == first.grid


def test_a_recipe_for_a_new_organ_has_at_most_fifteen_lines() -> None:
    """The one that the documentation shows."""
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    [text] = [block.split("```")[0] for block in page.split("```toml\n") if block.startswith("name")]
    assert len(text.splitlines()) <= 15
    organ = parse_recipe(tomllib.loads(text), "docs")
    assert organ.open
    assert organ.labels[0].type is not None
