from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffcl.data.cache import TrainingScan
from diffcl.data.cases import Cases
from diffcl.errors import DataError
from diffcl.models import ModelRegistry
from diffcl.publishing.gate import publish_if_not_worse
from diffcl.recipe import Recipe
from diffcl.training import train
from diffcl.training.label_remarks import label_remarks


def scan(name: str, *values: int) -> TrainingScan:
    """A scan whose label holds these values."""
    label = torch.zeros(4, 4, 4, dtype=torch.uint8)
    for place, value in enumerate(values):
        label[place] = value
    return TrainingScan(name, torch.zeros(1, 4, 4, 4), label)


def test_labels_with_all_classes_need_no_word(recipe: Recipe) -> None:
    assert label_remarks([scan("a", 1), scan("b", 2)], recipe) == ()


def test_empty_labels_and_classes_in_none_are_named(recipe: Recipe) -> None:
    assert label_remarks([scan("a", 2), scan("b"), scan("c")], recipe) == (
        "b, c: the label is empty, which teaches that there is nothing.",
        "head: in none of the labels that teach, so it is not learned.",
    )


def test_a_class_that_is_smaller_than_a_voxel_of_the_training_teaches_nothing(recipe: Recipe) -> None:
    small = replace(scan("b", 2), unknown=(1,), lost=(1,))
    sizes = " x ".join(f"{size:g}" for size in recipe.grid.spacing)
    assert label_remarks([scan("a", 1, 2), small], recipe) == (
        f"b: head is smaller than the voxels of the training ({sizes} mm), so it teaches nothing. "
        "Look at the voxel size in the header.",
    )


def test_a_class_that_few_labels_have_is_named(recipe: Recipe) -> None:
    several = [scan("a", 1, 2), scan("b", 2), scan("c", 2)]
    assert label_remarks(several, recipe) == (
        "head (in 1 of 3 labels): the labels without it teach that it is not there. "
        'Where it is there, say missing = "not outlined" of it in the recipe.',
    )
    assert (
        label_remarks([replace(one, unknown=() if one.name == "a" else (1,)) for one in several[:1]], recipe)
        == ()
    )


def test_a_label_with_empty_slices_between_and_one_without_background_are_named(recipe: Recipe) -> None:
    gaps = replace(scan("a", 1, 2), gaps="4 of 7 axial slices")
    full = TrainingScan("b", torch.zeros(1, 4, 4, 4), torch.ones(4, 4, 4, dtype=torch.uint8))
    assert label_remarks([gaps, full, scan("c", 1, 2)], recipe) == (
        "b: no voxel of the label is background. Look whether it is the right file.",
        "a (4 of 7 axial slices): between the slices that are drawn lie empty ones, which teach that nothing is there. "
        "Where they are not drawn yet, give them the value 255.",
    )


def test_nothing_but_empty_labels_is_refused(recipe: Recipe) -> None:
    with pytest.raises(DataError, match=r"^task organ: every label that teaches is empty \(a, b\)\. Outline"):
        label_remarks([scan("a"), scan("b")], recipe)


def test_they_stand_in_the_version_and_in_what_people_are_told(
    cases: Cases, recipe: Recipe, tmp_path: Path
) -> None:
    third = recipe.model_dump(exclude_unset=True) | {
        "labels": [*recipe.model_dump()["labels"], {"value": 3, "name": "third"}]
    }
    wider = Recipe.model_validate(third).changed(training={"steps": 2, "supervised_start": 1})
    train(replace(cases, validation=()), wider, tmp_path / "run")
    store = ModelRegistry(tmp_path / "models")
    version = publish_if_not_worse(tmp_path / "run", "organ", store)
    sentence = "third: in none of the labels that teach, so it is not learned."
    assert version.decision.reason == f"Published: there was no model yet. {sentence}"
    assert sentence in (store.folder("organ") / "card.md").read_text()
