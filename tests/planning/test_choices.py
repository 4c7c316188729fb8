"""A plan fits the scans, keeps what the recipe gives, and says why."""

from __future__ import annotations

import math
from typing import Any

import pytest

from diffcl.errors import DataError, RecipeError
from diffcl.planning.choices import Choice, choose, missing_classes
from diffcl.planning.size import COARSEST, CROP_VOXELS
from diffcl.planning.survey import ClassFacts, ScanFacts, Survey
from diffcl.recipe import Recipe, load_recipe, parse_recipe
from diffcl.recipe.section import LONGEST_SIDE

Triple = tuple[float, float, float]


def one_class(thickness: float = 12.0, centre: Triple = (0.0, 0.0, 0.0), largest: float = 1.0) -> ClassFacts:
    return ClassFacts(
        volume_ml=50.0, size=(40.0, 40.0, 40.0), centre=centre, thickness=thickness, largest=largest
    )


def scan(spacing: Triple, extent: Triple, *classes: ClassFacts, **more: Any) -> ScanFacts:
    facts = {"lowest": 0.0, "classes": dict(enumerate(classes, start=1)), "tissue": (20.0, 180.0), **more}
    return ScanFacts.model_validate({"name": "scan", "spacing": spacing, "extent": extent, **facts})


def task(classes: int = 1, **more: Any) -> Recipe:
    labels = [{"value": value, "name": f"part{value}"} for value in range(1, classes + 1)]
    return parse_recipe({"name": "organ", "labels": labels, **more}, "test")


def plan(recipe: Recipe, *scans: ScanFacts, minutes: float | None = None) -> Recipe:
    return choose(recipe, Survey(scans, []), minutes)[0]


HEART = scan((1.5, 1.5, 10.0), (330.0, 390.0, 100.0), one_class())
CUBE = scan((1.0, 1.0, 1.0), (48.0, 48.0, 48.0), one_class())
BODY = scan((0.8, 0.8, 3.0), (400.0, 400.0, 450.0), one_class(), lowest=-1000.0)


@pytest.mark.parametrize("one", [HEART, CUBE, BODY], ids=["thick slices", "small cubes", "a body"])
def test_a_plan_fits_the_scans_and_the_time(one: ScanFacts) -> None:
    made = plan(task(), one)
    grid = made.grid
    for own, planned, limit in zip(one.spacing, grid.spacing, one.extent, strict=True):
        assert own <= planned * 1.001 <= max(own, COARSEST * min(one.spacing)) * 1.05
        assert planned <= limit
    assert math.prod(grid.crop) <= 1.15 * CROP_VOXELS
    assert made.diffusion.sampling_steps == 1
    assert made.training.start_mix == (0.0 if one is CUBE else 0.8)
    assert made.training.start_crops == made.training.labelled_crops == made.training.unlabelled_crops == 1
    for network in (made.cs, made.ds):
        assert math.prod(network.level_strides[0]) in (4, 8)


def test_thick_slices_are_seen_whole_and_treated_in_their_plane_first() -> None:
    made = plan(task(), HEART.model_copy(update={"classes": {1: one_class(thickness=30.0)}}))
    assert made.grid.spacing[2] == 10.0
    sides = [count * length for count, length in zip(made.grid.crop, made.grid.spacing, strict=True)]
    assert sides == pytest.approx(HEART.extent, rel=0.05)
    assert made.cs.strides[0] == (2, 2, 1)
    assert made.cs.kernels[0] == (3, 3, 1)
    assert made.ds.coarse == (2, 2, 1)
    assert made.grains[2] <= 2
    out, _, turn = made.augmentation.angles
    assert out < 2 < turn


@pytest.mark.parametrize("thickness", [1.0, 40.0], ids=["a wall", "a chamber"])
def test_ds_works_on_coarse_voxels_where_they_are_not_much_longer_than_the_thinnest_class_is_thick(
    thickness: float,
) -> None:
    classes = one_class(thickness=40.0), one_class(thickness=thickness)
    for one in (HEART, BODY):
        found = one.model_copy(update={"classes": dict(enumerate(classes, start=1))})
        made, choices = choose(task(2), Survey([found], []))
        across = [
            thickness / (length * coarse)
            for length, coarse in zip(made.grid.spacing, made.ds.coarse, strict=True)
            if coarse > 1
        ]
        assert (across == []) is (thickness < 2.0)
        assert all(count >= 0.7 for count in across)
        if not across:
            assert made.ds.filters == made.cs.filters
            assert "1.0 mm would have fewer than 0.7 across" in said(choices, "ds.coarsening")


@pytest.mark.parametrize(
    "extent", [(3.0, 40.0, 5.0), (2.0, 2.0, 2.0), (500.0, 500.0, 2.0)], ids=["flat", "tiny", "two slices"]
)
def test_scans_smaller_than_any_crop_have_a_plan(extent: Triple) -> None:
    made = plan(task(), scan((1.0, 1.0, 1.0), extent, one_class(thickness=1.0)))
    assert all(side % grain == 0 for side, grain in zip(made.grid.crop, made.grains, strict=True))


def test_a_class_of_twenty_voxels_keeps_the_fine_grid_and_is_drawn_as_often() -> None:
    tiny = ClassFacts(volume_ml=0.02, size=(3.0, 3.0, 3.0), centre=(0, 0, 0), thickness=1.3, largest=1.0)
    made = plan(task(2), scan((1.0, 1.0, 1.0), (200.0, 200.0, 200.0), one_class(), tiny))
    assert made.grid.spacing == (1.0, 1.0, 1.0)
    assert made.training.class_balanced


def test_scans_of_several_modalities_are_told_with_the_intensities() -> None:
    _, choices = choose(task(), Survey([CUBE, CUBE.model_copy(update={"name": "ct", "lowest": -1000.0})], []))
    assert "CT (ct) and no CT (1 scan) are mixed" in said(choices, "intensity.method")


def test_of_scans_of_mixed_spacing_the_median_counts() -> None:
    mixed = [
        scan((s, s, z), (200.0, 200.0, 100.0), one_class()) for s, z in ((0.8, 5.0), (1.0, 6.0), (1.0, 1.0))
    ]
    x, y, z = plan(task(), *mixed).grid.spacing
    assert z == 5.0
    assert x == y
    assert 1.0 <= x <= 2.0


def test_less_time_makes_smaller_crops() -> None:
    long, short = (math.prod(plan(task(), HEART, minutes=time).grid.crop) for time in (20, 6))
    assert short < long / 2


@pytest.mark.parametrize(("classes", "steps"), [(1, 300), (3, 300), (13, 1300)])
def test_many_classes_take_longer_before_pseudo_labels_teach(classes: int, steps: int) -> None:
    training = plan(task(classes), CUBE).training
    assert training.least_start == steps
    assert training.supervised_start == min(steps, 750)


def test_a_training_by_time_begins_on_coarser_voxels_where_crops_are_large() -> None:
    def share(one: ScanFacts, minutes: float | None) -> float:
        return choose(task(), Survey([one], []), minutes)[0].training.coarse_start

    assert share(HEART, 60) == share(BODY, 120) == 0.35
    assert share(HEART, None) == 0
    assert share(scan((1.0,) * 3, (36.0, 50.0, 36.0), one_class()), 60) == 0


def test_the_window_of_ct_holds_the_classes_and_what_is_around_them() -> None:
    intensity = plan(task(modality="CT"), BODY).intensity
    assert intensity.method == "window"
    assert -100 <= intensity.low < 20
    assert 180 < intensity.high <= 350


def test_hounsfield_units_in_a_recipe_for_mr_are_pointed_at() -> None:
    _, choices = choose(task(), Survey([BODY], []))
    assert 'modality = "CT"' in said(choices, "intensity.method")


@pytest.mark.parametrize(
    ("ways", "flip"),
    [((1, 1, 1, 1), 0.0), ((1, -1, 1, -1), 0.5), ((1, -1), 0.0)],
    ids=["one way round", "either way round", "too few to know"],
)
def test_crops_are_mirrored_where_that_keeps_the_classes_apart(ways: tuple[int, ...], flip: float) -> None:
    scans = [
        scan(
            (1.0,) * 3, (50.0,) * 3, one_class(centre=(5.0 * way, 0, 0)), one_class(centre=(-5.0 * way, 0, 0))
        )
        for way in ways
    ]
    made, choices = choose(task(2), Survey(scans, []))
    assert made.augmentation.flip == (flip, 0.0, 0.0)
    if len(ways) == 4 and not flip:
        assert "part1 and part2" in said(choices, "augmentation.flip")


@pytest.mark.parametrize(
    ("largest", "single", "why"),
    [
        ((1.0, 0.95), True, "Every class is one piece in every label"),
        ((1.0, 0.6), (1,), "In a label the largest piece of part2 is 60 % of it; of any other class"),
        ((0.8, 0.6), False, "of part1 is 80 %, of part2 is 60 % of it; so all pieces stay."),
    ],
    ids=["all", "one of two", "none"],
)
def test_classes_of_one_piece_keep_it_alone(
    largest: tuple[float, float], single: bool | tuple[int], why: str
) -> None:
    classes = [one_class(largest=share) for share in largest]
    made, choices = choose(task(2), Survey([scan((1.0,) * 3, (50.0,) * 3, *classes)], []))
    assert made.inference.largest_component == made.losses.largest_component == single
    assert why in said(choices, "inference.largest_component")


def test_what_a_recipe_gives_is_never_chosen() -> None:
    recipe = task(
        grid={"crop": [64, 64, 16], "window": [64, 64, 16]},
        cs={"filters": [8, 16], "blocks": [1, 1], "hf_mamba_levels": [0]},
        inference={"overlap": 0.6},
        training={"mix": 0.1},
        augmentation={"rotate": 3.0},
    )
    made, choices = choose(recipe, Survey([HEART], []))
    assert made.grid.crop == (64, 64, 16)
    assert (made.cs.filters, made.cs.strides) == ((8, 16), ())
    assert (made.inference.overlap, made.training.mix, made.augmentation.rotate) == (0.6, 0.1, 3.0)
    given = {f"{one.section}.{one.field}" for one in choices if one.given}
    assert given == {
        "grid.crop", "grid.window", "inference.overlap", "training.mix", "augmentation.rotate",
    }  # fmt: skip


def test_a_plan_is_settled_and_stands_when_it_is_read_again() -> None:
    assert task().open
    assert not load_recipe("left_atrium").open
    assert task(planned=True, grid={"spacing": [1, 1, 1]}).open
    made = plan(task(2), scan((1.0,) * 3, (50.0,) * 3, one_class(), one_class()))
    assert not made.open
    assert parse_recipe(made.model_dump(mode="json"), "stored") == made


def test_every_choice_has_a_reason_of_one_line() -> None:
    for one in (HEART, CUBE, BODY):
        _, choices = choose(task(), Survey([one], []))
        assert all(choice.reason.endswith(".") and "\n" not in choice.reason for choice in choices)


def test_without_a_label_there_is_no_plan() -> None:
    with pytest.raises(DataError, match="no scan with a label to plan from"):
        choose(task(), Survey([], [HEART.model_copy(update={"classes": None})]))
    with pytest.raises(DataError, match="every label to plan from is empty"):
        choose(task(), Survey([HEART.model_copy(update={"classes": {}})], []))


def test_classes_that_no_label_has_are_named() -> None:
    assert missing_classes(task(2), Survey([HEART], [])) == ["part2"]


def said(choices: list[Choice], field: str) -> str:
    return next(one.reason for one in choices if f"{one.section}.{one.field}" == field)


def test_labelled_crops_of_many_classes_are_not_pasted_into_each_other() -> None:
    few, many = (
        plan(
            task(count), BODY.model_copy(update={"classes": dict(enumerate([one_class()] * count, start=1))})
        )
        for count in (3, 13)
    )
    assert (few.training.start_mix, many.training.start_mix) == (0.8, 0.0)
    assert few.training.mix == many.training.mix == 0.8


@pytest.mark.parametrize("extent", [(700.0, 12.0, 12.0), (16.0, 560.0, 16.0), (1200.0, 100.0, 6.0)])
def test_no_side_of_a_plan_is_longer_than_a_recipe_may_say(extent: Triple) -> None:
    one = scan((1.0, 1.0, 1.0), extent, one_class(thickness=5.0))
    made = plan(task(), one, scan((1.0, 1.0, 1.0), (500.0, 16.0, 16.0), one_class(thickness=5.0)))
    assert max(*made.grid.crop, *made.grid.window) <= LONGEST_SIDE


def test_voxels_of_a_small_animal_stay_as_fine_as_its_classes_need() -> None:
    made = plan(task(), scan((0.05, 0.05, 0.05), (3.0, 2.5, 2.0), one_class(thickness=0.1)))
    assert made.grid.spacing == (0.05, 0.05, 0.05)


def test_a_ct_of_impossible_values_is_named() -> None:
    odd = BODY.model_copy(update={"name": "scaled", "tissue": (7e6, 2e7)})
    with pytest.raises(
        DataError, match=r"^scaled: has values of 7e\+06\.\.2e\+07 inside the classes, which are no"
    ):
        plan(task(modality="CT"), BODY, odd)


@pytest.mark.parametrize(
    ("given", "crops"), [({}, (1, 1)), ({"labelled_crops": 2}, (2, 2)), ({"unlabelled_crops": 3}, (3, 3))]
)
def test_as_many_crops_of_each_kind_are_planned_as_the_recipe_gives_of_one(
    given: dict[str, int], crops: tuple[int, int]
) -> None:
    training = plan(task(training=given), CUBE).training
    assert (training.labelled_crops, training.unlabelled_crops) == crops
    assert training.mix == 0.8
    both = plan(task(training={"labelled_crops": 2, "unlabelled_crops": 1}), CUBE).training
    assert (both.labelled_crops, both.unlabelled_crops, both.mix) == (2, 1, 0.0)


def test_a_crop_of_few_slices_may_be_given_and_the_rest_fits_it() -> None:
    made = plan(task(grid={"crop": [160, 192, 10]}), HEART)
    assert made.grid.crop == (160, 192, 10)
    assert made.grains[2] <= 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cs": {"hf_mamba_levels": [3]}}, "level 3 has no skip connection"),
        ({"grid": {"crop": [45, 48, 48]}}, "grid.window and grid.crop must be divisible by 8"),
    ],
)
def test_what_does_not_fit_the_plan_is_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        plan(task(**given), CUBE)
    assert "\n" not in str(caught.value)
