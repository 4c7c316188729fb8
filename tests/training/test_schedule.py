from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic import publish_untrained

from diffcl.errors import UsageError
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe, load_recipe
from diffcl.training import Parent, Plan


@pytest.fixture
def parent(tmp_path: Path) -> Parent:
    return Parent.of(publish_untrained(ModelRegistry(tmp_path)))


def test_without_a_plan_the_recipe_is_the_schedule() -> None:
    recipe = load_recipe("hippocampus")
    assert Plan().schedule(recipe) is recipe
    assert Plan(steps=recipe.training.steps).schedule(recipe) is recipe


def test_phases_keep_their_share_of_a_shorter_run() -> None:
    recipe = load_recipe("hippocampus")
    training = Plan(steps=recipe.training.steps // 4).schedule(recipe).training
    assert training.supervised_start == recipe.training.supervised_start // 4
    assert training.validate_every == recipe.training.validate_every // 4
    assert training.learning_rate == recipe.training.learning_rate


def test_a_fine_tuning_is_short_and_gentle(parent: Parent) -> None:
    recipe = load_recipe("hippocampus")
    training = Plan(parent=parent).schedule(recipe).training
    assert training.steps == recipe.fine_tuning.steps < recipe.training.steps / 10
    assert training.learning_rate < recipe.training.learning_rate
    assert training.supervised_start < training.steps / 5
    assert training.validate_every == training.steps / 2


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 77, 100_000])
@pytest.mark.parametrize("fine", [True, False], ids=["fine-tuning", "from scratch"])
def test_every_number_of_steps_gives_a_possible_schedule(steps: int, fine: bool, parent: Parent) -> None:
    recipe = load_recipe("hippocampus")
    training = Plan(steps=steps, parent=parent if fine else None).schedule(recipe).training
    assert training.steps == steps
    assert 1 <= training.validate_every <= steps
    assert 1 <= training.checkpoint_every <= steps


@pytest.mark.parametrize(("steps", "start"), [(30, 15), (400, 200), (1000, 300), (1500, 300), (3000, 600)])
@pytest.mark.parametrize("by_time", [False, True], ids=["by steps", "by time"])
def test_a_short_run_keeps_the_least_start_for_labelled_crops_up_to_half_of_it(
    steps: int, start: int, by_time: bool
) -> None:
    """Where a run by time is expected to take so many steps, in places of its schedule."""
    recipe = load_recipe("hippocampus").changed(
        training={"steps": 1500, "supervised_start": 300, "least_start": 300}
    )
    plan = Plan(minutes=10, expected=steps) if by_time else Plan(steps=steps)
    training = plan.schedule(recipe).training
    assert training.supervised_start / training.steps == pytest.approx(start / steps, abs=1e-3)


def test_a_fine_tuning_has_no_least_start_and_no_coarse_one(parent: Parent) -> None:
    recipe = load_recipe("hippocampus").changed(training={"least_start": 300, "coarse_start": 0.3})
    training = Plan(parent=parent).schedule(recipe).training
    assert training.supervised_start == recipe.fine_tuning.supervised_start
    assert training.coarse_start == 0
    assert Plan(minutes=10).schedule(recipe).training.coarse_start == 0.3
    assert Plan(minutes=10, last_part=0.2).last_schedule(recipe).training.coarse_start == 0


@pytest.mark.parametrize("steps", [1, 2, 3, 40, 1500])
def test_the_last_part_is_a_share_of_the_steps_that_leaves_some_before(steps: int) -> None:
    recipe = load_recipe("hippocampus")
    plan = Plan(steps=steps, last_part=0.15)
    before, last = plan.schedule(recipe).training.steps, plan.last_steps(recipe)
    assert before >= 1
    assert before + last == steps
    if last:
        training = plan.last_schedule(recipe).training
        assert (training.steps, training.supervised_start) == (last, 0)
        assert training.learning_rate == recipe.training.learning_rate / 2


def test_one_network_learns_alone_where_the_other_has_weights_to_keep(parent: Parent) -> None:
    recipe = load_recipe("hippocampus")
    assert Plan(parent=parent, learns="ds").schedule(recipe).training.learns == "ds"
    with pytest.raises(UsageError, match=r"^training CS alone: needs a published model, .* both networks$"):
        Plan(learns="cs")


@pytest.mark.parametrize("steps", [10, 60, 400])
def test_the_average_forgets_where_a_short_run_began(steps: int) -> None:
    average = Plan(steps=steps).schedule(load_recipe("hippocampus")).training.average
    assert average**steps < 1e-4


def test_a_plan_comes_back_from_its_file(parent: Parent) -> None:
    for plan in (Plan(), Plan(steps=7), Plan(minutes=2.5, parent=parent), Plan(parent=parent, learns="cs"),
                 Plan(minutes=2, last_part=0.15, expected=90)):  # fmt: skip
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_weights_of_another_shape_are_told(parent: Parent) -> None:
    own = ModelRegistry(parent.folder.parent.parent).info("organ").recipe
    assert parent.unlike(own) == ""
    assert parent.unlike(own.changed(training={"steps": 700})) == ""
    assert parent.unlike(own.changed(ds={"time_features": 16})) == "organ 1 has a DS of another shape"
    assert parent.unlike(load_recipe("hippocampus")) == "organ 1 has a CS of another shape"
    third = own.model_dump() | {"labels": [*own.model_dump()["labels"], {"value": 3, "name": "third"}]}
    assert parent.unlike(Recipe.model_validate(third)) == "organ 1 has 3 classes with background, not 4"
