"""Recipes are checked when they are read, and say what is wrong in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from diffcl.errors import RecipeError
from diffcl.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes

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


def test_a_number_of_steps_alone_is_enough() -> None:
    recipe = parse_recipe({**SMALLEST, "training": {"steps": 50}}, "test")
    assert recipe.training.supervised_start == 10
    assert parse_recipe(recipe.model_dump(mode="json"), "test").training == recipe.training


@pytest.mark.parametrize(("given", "values"), [(True, (1, 2)), (False, ()), ([2], (2,)), ([], ())])
def test_classes_of_one_piece_are_all_none_or_some(given: object, values: tuple[int, ...]) -> None:
    labels = [{"value": 1, "name": "a"}, {"value": 2, "name": "b"}]
    recipe = parse_recipe({**SMALLEST, "labels": labels, "inference": {"largest_component": given}}, "test")
    assert recipe.of_one_piece(recipe.inference.largest_component) == values
    assert parse_recipe(recipe.model_dump(mode="json"), "test") == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 5}, "steps: Extra inputs are not permitted"),
        ({"labels": []}, "labels"),
        ({"labels": [{"value": 2, "name": "a"}]}, "label values must be 1, 2, ... in order"),
        ({"labels": [{"value": 1, "name": "background"}]}, "background is implied"),
        ({"labels": [{"value": 1, "name": "a"}, {"value": 2, "name": "a"}]}, "label names must differ"),
        ({"labels": [{"value": 1, "name": "Unknown"}]}, "Unknown is no class: it stands for what nobody has"),
        ({"labels": [{"value": 1, "name": "a\nb"}]}, "label name 'a\\nb' is not one line of text"),
        ({"labels": [{"value": 1, "name": " a"}]}, "label name ' a' is not one line of text"),
        (
            {"labels": [{"value": 1, "name": "a"}, {"value": 2, "name": "b", "sources": [1, 2]}]},
            "two classes have the source 1; a value means one class",
        ),
        (
            {"labels": [{"value": 1, "name": "a", "sources": [0, 1]}]},
            "0 is background and no source of a class",
        ),
        ({"name": "My Organ"}, "name"),
        ({"labels": [{"value": 1, "name": "a", "sources": [10**12]}]}, "labels.0.sources.0"),
        ({"labels": [{"value": n, "name": str(n)} for n in range(1, 257)]}, "labels.255.value"),
        ({"labels": [{"value": n, "name": str(n)} for n in range(1, 256)]}, "holds 254 classes at most"),
        ({"grid": {"window": [30, 32, 32]}, "planned": False}, "must be divisible by 8"),
        ({"grid": {"spacing": [0, 1, 1]}}, "grid.spacing.0"),
        ({"training": {"steps": 10, "supervised_start": 11}}, "supervised_start cannot exceed steps"),
        ({"training": {"mix": 0.5, "unlabelled_crops": 1}}, "mix needs as many unlabelled_crops"),
        ({"cs": {"hf_mamba_levels": [3]}}, "level 3 has no skip connection"),
        ({"cs": {"filters": [8, 16]}}, "one entry a level"),
        ({"cs": {"projection": 8}}, "must be equal"),
        (
            {"ds": {"coarsening": 2}, "grid": {"crop": [24, 32, 32]}, "planned": False},
            "must be divisible by 16",
        ),
        ({"ds": {"coarsening": 2, "diffusion": False}}, "coarsening has no meaning without diffusion"),
        (
            {"ds": {"coarsening": [1, 2, 1], "diffusion": False}},
            "coarsening has no meaning without diffusion",
        ),
        ({"cs": {"strides": [[2, 2, 1]]}}, "strides need one entry from each level to the next"),
        ({"cs": {"strides": [[2, 2, 1], [2, 2, 1], [1, 1, 1]]}}, "lead to no coarser level"),
        ({"cs": {"kernels": [[3, 3, 1]]}}, "kernels need one entry a level"),
        (
            {"cs": {"strides": [[2, 2, 1]] * 3}, "ds": {"diffusion": False}},
            "ds.strides must equal cs.strides where ds is a second CS",
        ),
        (
            {
                "cs": {"strides": [[2, 2, 1]] * 3},
                "ds": {"strides": [[2, 2, 1]] * 3},
                "grid": {"crop": [16, 20, 3]},
            },
            "must be divisible by 8 x 8 x 1",
        ),
        ({"intensity": {"low": 50, "high": 40}}, "must be above low"),
        ({"intensity": {"high": 130}}, "percentiles lie between 0 and 100"),
        ({"contrastive": {"draws": 600}}, "draws cannot exceed bank"),
        ({"contrastive": {"negatives": 5000}}, "cannot exceed candidates"),
        ({"diffusion": {"steps": 10, "sampling_steps": 11}}, "sampling_steps cannot exceed steps"),
        ({"diffusion": {"sampling_steps": 1000}}, "diffusion.sampling_steps: Input should be less than or"),
        ({"grid": {"window": [1e6, 1e6, 1e6]}}, "should be less than or equal to 512, not 1e+06"),
        ({"grid": {"window": [512, 512, 512]}}, "window of 512x512x512 has more than 16777216 voxels"),
        ({"grid": {"crop": [512, 512, 128]}}, "crop of 512x512x128 has more than"),
        (
            {"grid": {"spacing": [1, 0.001, 1]}},
            "grid.spacing.1: Input should be greater than or equal to 0.01",
        ),
        ({"intensity": {"low": float("nan")}}, "intensity.low: Input should be a finite number"),
        ({"training": {"learning_rate": float("inf")}}, "learning_rate: Input should be a finite number"),
        ({"training": {"seed": -1}}, "training.seed"),
        ({"inference": {"overlap": 0.99}}, "inference.overlap"),
        ({"inference": {"largest_component": [2]}}, "largest_component: no class has the value 2"),
        ({"losses": {"largest_component": [1, 0]}}, "losses.largest_component"),
        ({"losses": {"largest_component": "some"}}, "losses.largest_component"),
        ({"cs": {"filters": [16] * 9, "blocks": [1] * 9}}, "cs.filters: Tuple should have at most 8 items"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**SMALLEST, **change}, "organ.toml")
    assert str(caught.value).startswith("organ.toml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def numbers(model: type[BaseModel], *path: str) -> Iterator[tuple[str, ...]]:
    """Where the numbers of a recipe are; lists of numbers by their first one."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        sections = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
        if sections and name not in ("labels", "sequences"):  # whose numbers are those of other sections
            yield from numbers(sections[0], *path, name)
        elif not sections and any(
            kind in (int, float) or get_args(kind)[:1] in ((int,), (float,)) for kind in kinds
        ):
            yield (*path, name)


@pytest.mark.parametrize("path", [*numbers(Recipe)], ids=".".join)
@pytest.mark.parametrize(
    "value",
    [1e20, -1e20, float("inf"), float("nan"), 10**400],
    ids=lambda value: f"{value:.6}" if value < 10**20 else "huge",
)
def test_no_number_of_a_recipe_is_without_bounds(path: tuple[str, ...], value: float) -> None:
    section, field = path
    usual = getattr(getattr(parse_recipe(SMALLEST, "test"), section), field)
    given = [value] * len(usual) if isinstance(usual, tuple) else value
    with pytest.raises(RecipeError, match=rf"{section}\.{field}") as caught:
        parse_recipe({**SMALLEST, section: {field: given}}, "test")
    assert len(str(caught.value)) < 300


def test_the_numbers_of_all_sections_are_bounded() -> None:
    """So that none is left out because of how its type is written."""
    found = {section for section, _ in numbers(Recipe)}
    words = {"name", "title", "modality", "labels", "patient", "planned", "sequences", "card"}
    assert found == {*Recipe.model_fields} - words
    assert len([*numbers(Recipe)]) >= 60


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


@pytest.mark.parametrize(
    ("sequences", "what"),
    [
        ([{"name": "T1"}, {"name": "t1"}], "names of sequences must differ"),
        ([{"name": "T1", "required": False}], "the first sequence must be required"),
        ([{"name": "T1", "modality": "CT"}], "the first sequence must have the modality of the task"),
        ([{"name": "T1", "pattern": "("}], "is no regular expression"),
        ([{"name": "T1"}] * 17, "at most 16"),
    ],
)
def test_sequences_that_cannot_be_are_refused(sequences: list[dict[str, Any]], what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        parse_recipe({"name": "a", "labels": [{"value": 1, "name": "b"}], "sequences": sequences}, "test")


def test_a_sequence_has_the_intensities_of_its_modality() -> None:
    recipe = parse_recipe(
        {
            "name": "a",
            "labels": [{"value": 1, "name": "b"}],
            "intensity": {"method": "zscore"},
            "sequences": [{"name": "T1"}, {"name": "T2"}, {"name": "PET", "modality": "PT"}],
        },
        "test",
    )
    assert [one.method for one in recipe.intensities] == ["zscore", "zscore", "percentile"]
    assert recipe.channels == 3
