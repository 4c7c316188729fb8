"""Batches depend on the seed and the step alone, and keep image and label together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffcl.data.batches import Batch, Batches
from diffcl.data.cache import TrainingScan
from diffcl.errors import RecipeError
from diffcl.labels import UNDECIDED, UNKNOWN
from diffcl.recipe import Recipe, parse_recipe

STILL = {"rotate": 0.0, "scale": 0.0, "shift": 0.0, "gamma": 0.0, "noise": 0.0, "blur": 0.0}


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe(
        {
            "name": "organ",
            "labels": [{"value": 1, "name": "organ"}],
            "grid": {"window": [16, 16, 16], "crop": [8, 16, 8]},
            "training": {"steps": 20, "supervised_start": 5, "mix": 0.5},
        },
        "test",
    )


def scans(count: int, *, labelled: bool) -> list[TrainingScan]:
    """Scans whose voxels are 0.5 inside the organ and -0.5 outside."""
    made = []
    for number in range(count):
        label = torch.zeros(14, 12 + number, 20, dtype=torch.long)
        label[4:9, 3:9, 6:15] = 1
        made.append(TrainingScan(str(number), (label.float() - 0.5)[None], label if labelled else None))
    return made


def batches(recipe: Recipe) -> Batches:
    return Batches(scans(3, labelled=True), scans(4, labelled=False), recipe)


def equal(one: Batch, other: Batch) -> bool:
    if (one.boxes is None) != (other.boxes is None):
        return False
    pairs = [(one.labelled, other.labelled), (one.labels, other.labels), (one.unlabelled, other.unlabelled)]
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_step_has_the_same_batch_in_every_run(recipe: Recipe) -> None:
    first, second = batches(recipe), batches(recipe)
    first(3)
    assert equal(first(9), second(9))
    assert not equal(first(9), first(10))
    assert not equal(first(9), batches(recipe.changed(training={"seed": 1}))(9))


def test_batches_made_ahead_are_the_same(recipe: Recipe) -> None:
    made = batches(recipe)
    ahead = list(made.ahead(4, 7))
    assert [step for step, _ in ahead] == [4, 5, 6, 7]
    assert all(equal(batch, made(step)) for step, batch in ahead)


def test_the_supervised_start_has_no_unlabelled_crops(recipe: Recipe) -> None:
    made = batches(recipe)
    assert [len(made(step).unlabelled) for step in (5, 6)] == [0, 2]
    assert len(batches(recipe.changed(training={"method": "supervised"}))(6).unlabelled) == 0


def test_the_supervised_start_has_its_own_number_of_crops(recipe: Recipe) -> None:
    made = batches(recipe.changed(training={"start_crops": 3, "labelled_crops": 1, "unlabelled_crops": 1}))
    assert [(len(made(step).labelled), len(made(step).unlabelled)) for step in (5, 6)] == [(3, 0), (1, 1)]


def test_crops_have_the_size_of_the_recipe(recipe: Recipe) -> None:
    batch = batches(recipe)(6)
    assert batch.labelled.shape == batch.unlabelled.shape == (2, 1, 8, 16, 8)
    assert batch.labels.shape == (2, 8, 16, 8)
    assert batch.labels.dtype == torch.int64


def test_label_and_image_move_together(recipe: Recipe) -> None:
    still = {**STILL, "rotate": 15.0, "scale": 0.1, "flip": [0.5, 0.5, 0.5]}
    made = batches(recipe.changed(augmentation=still))
    for step in range(1, 8):
        batch = made(step)
        agree = (batch.labelled[:, 0] > 0) == (batch.labels == 1)
        assert float(agree.float().mean()) > 0.95


def test_without_augmentation_crops_are_pieces_of_the_scan(recipe: Recipe) -> None:
    batch = batches(recipe.changed(augmentation=STILL))(8)
    assert set(batch.labelled.unique().tolist()) == {-0.5, 0.5}
    assert torch.equal(batch.unlabelled, batch.unlabelled_plain)


def test_only_the_student_sees_changed_intensities(recipe: Recipe) -> None:
    settings = {**STILL, "shift": 0.5, "gamma": 0.3, "noise": 0.2, "blur": 1.0}
    batch = batches(recipe.changed(augmentation=settings))(8)
    assert not torch.equal(batch.unlabelled, batch.unlabelled_plain)
    assert set(batch.unlabelled_plain.unique().tolist()) == {-0.5, 0.5}


def test_boxes_cover_two_thirds_of_each_side(recipe: Recipe) -> None:
    made = batches(recipe.changed(training={"mix": 1.0}))
    boxes = made(6).boxes
    assert boxes is not None
    assert boxes.sum(dim=(1, 2, 3)).tolist() == [5 * 10 * 5] * 2
    assert batches(recipe.changed(training={"mix": 0.0}))(6).boxes is None


def test_one_crop_of_a_mixed_pair_is_kept_by_chance(recipe: Recipe) -> None:
    made = batches(recipe.changed(training={"mix": 1.0, "mixed_sides": 1}))
    assert {made(step).kept for step in range(6, 20)} == {(True, False), (False, True)}
    assert made(3).kept == (True, True), "labelled crops alone"
    assert batches(recipe.changed(training={"mix": 1.0}))(6).kept == (True, True)


def test_a_single_labelled_crop_has_another_to_take_its_box_from(recipe: Recipe) -> None:
    one = {"start_crops": 1, "labelled_crops": 1, "unlabelled_crops": 1, "mix": 1.0}
    made = batches(recipe.changed(training=one))
    alone, beside = made(3), made(6)
    assert (alone.givers, len(alone.labelled), len(alone.labels)) == (1, 2, 2)
    assert alone.boxes is not None
    assert len(alone.boxes) == 2
    assert (beside.givers, len(beside.labelled), len(beside.unlabelled)) == (0, 1, 1)
    for still in ({"mix": 0.0}, {"start_mix": 0.0}):
        unmixed = batches(recipe.changed(training={**one, **still}))(3)
        assert (unmixed.givers, len(unmixed.labelled), unmixed.boxes) == (0, 1, None)
    assert batches(recipe.changed(training={**one, "start_mix": 0.0}))(6).boxes is not None


def test_fewer_scans_than_crops_are_used_twice(recipe: Recipe) -> None:
    batch = Batches(scans(1, labelled=True), scans(1, labelled=False), recipe)(6)
    assert len(batch.labelled) == len(batch.unlabelled) == 2


def test_class_balanced_crops_see_a_small_class_as_often_as_a_large_one(recipe: Recipe) -> None:
    label = torch.zeros(48, 16, 32, dtype=torch.long)
    label[2:36, 2:14, 2:30] = 1
    label[46, 8, 16] = 2
    scan = TrainingScan("scan", (label.float() - 0.5)[None], label)
    seen = {}
    for balanced in (False, True):
        changes = {
            "crop_on_object": 1.0,
            "class_balanced": balanced,
            "start_crops": 1,
            "supervised_start": 20,
        }
        made = Batches([scan], [], recipe.changed(training=changes, augmentation=STILL))
        seen[balanced] = sum(bool((made(step).labels == 2).any()) for step in range(1, 31))
    assert seen[False] < 3
    assert 6 < seen[True] < 24


def test_background_of_a_scan_with_a_class_that_is_not_outlined_has_a_value_of_its_own(
    recipe: Recipe,
) -> None:
    whole, part = scans(2, labelled=True)
    part = replace(part, unknown=(1,))
    one = Batches([whole, part], [], recipe)(1)
    plain = Batches([whole, replace(part, unknown=())], [], recipe)(1)
    assert plain.merged is None
    assert one.merged is not None
    assert one.merged.tolist() == [[True, True]]
    changed = (one.labels != plain.labels).flatten(1)
    assert torch.equal(one.labels[one.labels != plain.labels].unique(), torch.tensor([recipe.classes]))
    assert changed.any(dim=1).sum() == 1
    assert (plain.labels[one.labels != plain.labels] == 0).all()


def test_what_is_not_drawn_is_undecided_and_its_scan_is_unlabelled_as_well(recipe: Recipe) -> None:
    """The label of the only scan says nothing of half of it."""
    (scan,) = scans(1, labelled=True)
    assert scan.label is not None
    label = scan.label.clone()
    label[:, :, 10:] = UNKNOWN
    partly = replace(scan, label=label, drawn="drawn on 10 of 20 axial slices")
    still = recipe.changed(augmentation=STILL, training={"crop_on_object": 1.0})
    made, plain = Batches([partly], [], still), Batches([scan], [], still)
    start, later = made(3), made(9)
    assert (start.labels == UNDECIDED).any()
    known = start.labels != UNDECIDED
    assert known.any()
    assert torch.equal(start.labels[known] == 1, (start.labelled[:, 0] > 0)[known])
    assert not (start.labels == UNKNOWN).any()
    assert len(start.unlabelled) == len(plain(9).unlabelled) == 0
    assert len(later.unlabelled) == 2


def test_crops_are_not_drawn_around_what_is_unknown(recipe: Recipe) -> None:
    """One voxel is of the class and all others are unknown: it is in every crop."""
    label = torch.full((48, 16, 32), UNKNOWN, dtype=torch.uint8)
    label[40, 8, 25] = 1
    scan = TrainingScan("scan", torch.zeros(1, *label.shape), label, drawn="100 % of it is unknown")
    for share in (1.0, 0.0):
        made = Batches([scan], [], recipe.changed(training={"crop_on_object": share}, augmentation=STILL))
        assert all((made(step).labels == 1).any(dim=(1, 2, 3)).all() for step in (1, 2, 3, 9))


def test_a_coarse_start_sees_longer_voxels_in_their_places() -> None:
    """Of a ramp, the smoothed intensity at a voxel that is taken is its own, so labels lie on their image."""
    ramp = torch.arange(16.0).view(-1, 1, 1) + 100 * torch.arange(12.0).view(-1, 1) + torch.arange(10.0)
    crops = ramp.expand(2, 1, -1, -1, -1)
    boxes = torch.zeros(2, 16, 12, 10, dtype=torch.bool)
    boxes[:, 6:] = True
    batch = Batch(crops, crops[:, 0].long(), crops[:1], crops[:1], boxes, merged=torch.ones(1, 2).bool())
    coarse = batch.coarser((2, 2, 1), (4, 4, 2))
    taken = ramp[::2, ::2][:, 1:5]
    assert coarse.voxel == (2, 2, 1)
    assert coarse.labels.shape == (2, 8, 4, 10)
    assert torch.equal(coarse.labels[0], taken.long())
    assert torch.equal(coarse.labelled[1, 0, 1:-1], taken[1:-1])
    assert torch.equal(coarse.unlabelled_plain[0, 0, 1:-1], taken[1:-1])
    assert coarse.boxes is not None
    assert torch.equal(coarse.boxes[0, :, 0, 0], torch.arange(8) >= 3)
    assert coarse.kept == batch.kept
    assert coarse.merged is batch.merged
    nothing = Batch(crops, crops[:, 0].long(), crops[:0], crops[:0], None).coarser((2, 2, 2), (4, 4, 1))
    assert nothing.unlabelled.shape == (0, 1, 8, 4, 5)
    assert nothing.boxes is None


def test_the_coarse_start_lasts_for_its_share_of_the_schedule(recipe: Recipe) -> None:
    made = recipe.changed(
        grid={"crop": [16, 16, 16]},
        cs={"filters": [4, 8], "blocks": [1, 1], "hf_mamba_levels": []},
        ds={"filters": [4, 8], "blocks": [1, 1]},
        training={"coarse_start": 0.3, "mix": 1.0, "labelled_crops": 1, "unlabelled_crops": 1},
    )
    drawn = batches(made)
    assert [drawn(step).voxel[0] for step in (1, 6, 7, 20)] == [2, 2, 1, 1]
    assert drawn(7, place=5.5).voxel == (2, 2, 2)
    assert drawn(6).labels.shape[1:] == (8, 8, 8)
    with pytest.raises(
        RecipeError, match=r"coarse_start needs a larger grid\.crop: on coarser voxels nothing"
    ):
        made.changed(grid={"crop": [2, 16, 16]})


def test_batches_made_ahead_leave_the_processors_to_the_step(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, before, seen = batches(recipe), torch.get_num_threads(), []
    make = Batches.__call__

    def watched(self: Batches, step: int, place: float | None = None) -> Batch:
        seen.append(torch.get_num_threads())
        return make(self, step, place)

    monkeypatch.setattr(Batches, "__call__", watched)
    torch.set_num_threads(3)
    try:
        for _ in drawn.ahead(1, 3):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1, 1]
