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
