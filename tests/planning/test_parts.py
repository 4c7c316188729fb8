"""A recipe that asks for what its crops or scans cannot carry is one line, and a plan never asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcl.data.cases import Cases, LabelledCase
from diffcl.errors import RecipeError
from diffcl.planning.choices import choose
from diffcl.planning.planned_recipe import planned
from diffcl.planning.survey import ClassFacts, ScanFacts, Survey
from diffcl.recipe import Recipe, parse_recipe

CASES = Cases((LabelledCase("scan", Path("scan.nii.gz"), Path("label.nii.gz")),), (), ())
HALVED = [[2, 2, 2]] * 3
IN_PLANE = [[2, 2, 1]] * 3


def task(**sections: object) -> Recipe:
    return parse_recipe({"name": "heart", "labels": [{"value": 1, "name": "wall"}], **sections}, "test")


def stacks(thickness: float, extent: tuple[float, float, float] = (300.0, 300.0, 100.0)) -> Survey:
    one = ClassFacts(
        volume_ml=50.0, size=(40.0, 40.0, 40.0), centre=(0.0, 0.0, 0.0), thickness=thickness, largest=1.0
    )
    facts = {"name": "scan", "spacing": (2.0, 2.0, 10.0), "extent": extent, "lowest": 0.0}
    return Survey([ScanFacts.model_validate({**facts, "classes": {1: one}, "tissue": (20.0, 180.0)})], [])


def settled(recipe: Recipe) -> Recipe:
    """As a training settles it."""
    return choose(recipe, stacks(9.0))[0] if recipe.open else planned(recipe, CASES)


@pytest.mark.parametrize("spacing", [[2.0, 2.0, 10.0], None], ids=["given", "planned"])
def test_hf_mamba_along_two_slices_is_refused(spacing: list[float] | None) -> None:
    grid = {"crop": [64, 64, 8], "window": [64, 64, 8]} | ({"spacing": spacing} if spacing else {})
    recipe = task(grid=grid, cs={"hf_mamba_levels": [0, 2], "strides": HALVED}, ds={"strides": HALVED})
    with pytest.raises(RecipeError, match=r"heart.*level 2 a crop has fewer than 4 voxels.*Leave") as refused:
        settled(recipe)
    assert "\n" not in str(refused.value)


def test_hf_mamba_in_the_plane_of_few_slices_is_not_refused() -> None:
    grid = {"crop": [64, 64, 2], "window": [64, 64, 2], "spacing": [2.0, 2.0, 10.0]}
    recipe = task(grid=grid, cs={"hf_mamba_levels": [0, 2], "strides": IN_PLANE}, ds={"strides": IN_PLANE})
    assert settled(recipe) is recipe


@pytest.mark.parametrize("side", [3.0, 6.0, 10.0, 20.0, 33.0])
def test_a_plan_for_tiny_scans_asks_for_no_wavelet_that_they_cannot_carry(side: float) -> None:
    choose(task(), stacks(9.0, (2 * side, 2 * side, 10 * side)))


@pytest.mark.parametrize(
    ("thickness", "coarsening", "instead"),
    [(9.0, [2, 2, 2], [2, 2, 1]), (2.0, [2, 2, 1], [1, 1, 1])],
    ids=["thick slices", "a thin wall"],
)
def test_ds_coarser_than_a_class_is_refused(
    thickness: float, coarsening: list[int], instead: list[int]
) -> None:
    with pytest.raises(RecipeError, match="too long for the thinnest class") as refused:
        choose(task(ds={"coarsening": coarsening}), stacks(thickness))
    assert f"Take {instead}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_ds_as_coarse_as_a_plan_would_have_it_is_not_refused() -> None:
    recipe, _ = choose(task(ds={"coarsening": [2, 2, 1]}), stacks(9.0))
    assert recipe.ds.coarse == (2, 2, 1)
