"""Recipes are checked when they are read, and say what is wrong in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diffcl.errors import RecipeError
from diffcl.recipe import load_recipe, parse_recipe, shipped_recipes

SMALLEST = {"name": "organ", "labels": [{"value": 1, "name": "organ"}]}


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_has_codes(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.title
    assert all(label.type is not None for label in recipe.labels)


def test_name_and_labels_are_enough() -> None:
    recipe = parse_recipe(SMALLEST, "test")
    assert recipe.classes == 2
    assert recipe.labels[0].source_values == (1,)


def test_a_recipe_survives_being_written_down() -> None:
    recipe = load_recipe("hippocampus")
    assert parse_recipe(recipe.model_dump(mode="json"), "test") == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 5}, "steps: Extra inputs are not permitted"),
        ({"labels": []}, "labels"),
        ({"labels": [{"value": 2, "name": "a"}]}, "label values must be 1, 2, ... in order"),
        ({"labels": [{"value": 1, "name": "background"}]}, "background is implied"),
        ({"labels": [{"value": 1, "name": "a"}, {"value": 2, "name": "a"}]}, "label names must differ"),
        ({"name": "My Organ"}, "name"),
        ({"grid": {"window": [30, 32, 32]}}, "must be divisible by 8"),
        ({"grid": {"spacing": [0, 1, 1]}}, "grid.spacing.0"),
        ({"training": {"steps": 10, "supervised_start": 11}}, "supervised_start cannot exceed steps"),
        ({"training": {"mix": 0.5, "unlabelled_crops": 1}}, "mix needs as many unlabelled_crops"),
        ({"cs": {"hf_mamba_levels": [3]}}, "level 3 has no skip connection"),
        ({"cs": {"filters": [8, 16]}}, "one entry a level"),
        ({"cs": {"projection": 8}}, "must be equal"),
        ({"ds": {"coarsening": 2}, "grid": {"crop": [24, 32, 32]}}, "must be divisible by 16"),
        ({"ds": {"coarsening": 2, "diffusion": False}}, "coarsening has no meaning without diffusion"),
        ({"intensity": {"low": 50, "high": 40}}, "must be above low"),
        ({"intensity": {"high": 130}}, "percentiles lie between 0 and 100"),
        ({"contrastive": {"draws": 600}}, "draws cannot exceed bank"),
        ({"contrastive": {"negatives": 5000}}, "cannot exceed candidates"),
        ({"diffusion": {"steps": 10, "sampling_steps": 11}}, "sampling_steps cannot exceed steps"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**SMALLEST, **change}, "organ.toml")
    assert str(caught.value).startswith("organ.toml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "organ.toml"
    path.write_text('name = "organ"\n[[labels]]\nvalue = 1\nname = "organ"\n')
    assert load_recipe(path).name == "organ"


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe"], ids=["not TOML", "not text"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "organ.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"organ\.toml: "):
        load_recipe(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        RecipeError, match=r"liver: no such recipe. Give a TOML file or one of: .*hippocampus"
    ):
        load_recipe("liver")
