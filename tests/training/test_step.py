"""One step of Diff-CL: which network learns from what, and where no gradient may go."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffcl.data.batches import Batch
from diffcl.labels import UNDECIDED
from diffcl.losses.pseudo_label import PseudoLabel
from diffcl.losses.segmentation import segmentation_loss
from diffcl.recipe import Recipe, load_recipe
from diffcl.training.state import TrainingState
from diffcl.training.step import StepLosses, StepWeights, arrange, diffcl_step, weights_at

SMALL = {"filters": [4, 8], "blocks": [1, 1], "projection": 4}
CROP = (8, 8, 8)


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("hippocampus").changed(
        cs={**SMALL, "hf_mamba_levels": [0], "hf_mamba_width": 4},
        ds=SMALL,
        grid={"window": [8, 8, 8], "crop": CROP},
        training={"steps": 20, "supervised_start": 4, "precision": "float32"},
        contrastive={
            "bank": 32,
            "draws": 4,
            "candidates": 60,
            "positives": 4,
            "negatives": 8,
            "confidence": 0.0,
        },
        losses={"largest_component": False},
    )


def batch(*, unlabelled: int = 2, boxes: bool = False) -> Batch:
    random = torch.Generator().manual_seed(0)
    corner = torch.zeros(2, *CROP, dtype=torch.bool)
    corner[:, :4, :4, :4] = True
    return Batch(
        torch.randn(2, 1, *CROP, generator=random),
        torch.randint(0, 3, (2, *CROP), generator=random),
        torch.randn(unlabelled, 1, *CROP, generator=random),
        torch.randn(unlabelled, 1, *CROP, generator=random),
        corner if boxes else None,
    )


def gradient(loss: torch.Tensor, learner: TrainingState) -> dict[str, float]:
    """Sum of absolute gradients of each network, its teacher and the bank."""
    assert learner.ds is not None
    parts = {
        "cs": learner.cs.network, "ds": learner.ds.network,
        "cs teacher": learner.cs.teacher, "ds teacher": learner.ds.teacher, "bank": learner.bank,
    }  # fmt: skip
    for module in parts.values():
        module.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {
        name: sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)
        for name, module in parts.items()
    }


def step(recipe: Recipe, **kwargs: object) -> tuple[TrainingState, StepLosses]:
    learner = TrainingState(recipe, torch.device("cpu"))
    diffcl_step(learner, batch(**kwargs), 10)  # type: ignore[arg-type] # fills the bank
    return learner, diffcl_step(learner, batch(**kwargs), 11)  # type: ignore[arg-type]


def test_losses_add_up_as_in_the_paper() -> None:
    terms = [torch.tensor(value) for value in (1.0, 10.0, 100.0, 2.0, 20.0)]
    losses = StepLosses(*terms, StepWeights(mu_1=0.5, mu_2=0.25, eta=0.1))
    assert float(losses.cs) == pytest.approx(1 + 0.25 * (10 + 0.1 * 100))
    assert float(losses.ds) == pytest.approx(2 + 0.5 * 20)


@pytest.mark.parametrize("source", ["denoise", "sample"])
def test_each_loss_reaches_its_network_only(recipe: Recipe, source: str) -> None:
    recipe = recipe.changed(losses={"pseudo_label": source})
    learners = {"cs": "cs", "ds": "ds", "cs_pseudo": "cs", "ds_pseudo": "ds", "contrastive": "cs"}
    for term, learns in learners.items():
        learner, losses = step(recipe)
        reached = gradient(getattr(losses, term), learner)
        assert {name for name, size in reached.items() if size > 0} == {learns}, term


def test_the_pseudo_label_may_come_from_a_given_time(recipe: Recipe) -> None:
    recipe = recipe.changed(losses={"pseudo_label_time": 0.6})
    learner = TrainingState(recipe, torch.device("cpu"))
    assert learner.ds is not None
    seen = []
    learner.ds.teacher.register_forward_pre_hook(lambda _, given: seen.append(given[2].tolist()))
    diffcl_step(learner, batch(), 10)
    assert seen == [[int(0.6 * recipe.diffusion.steps)] * 2]


def test_the_supervised_start_has_no_unlabelled_terms(recipe: Recipe) -> None:
    _, losses = step(recipe, unlabelled=0)
    assert float(losses.cs_pseudo) == float(losses.ds_pseudo) == float(losses.contrastive) == 0


def test_eta_zero_switches_the_contrastive_term_off(recipe: Recipe) -> None:
    learner, losses = step(recipe.changed(losses={"eta": 0.0}))
    assert float(losses.contrastive) == 0
    assert learner.bank.filled.sum() == 0


def test_a_supervised_recipe_trains_cs_alone(recipe: Recipe) -> None:
    learner, losses = step(recipe.changed(training={"method": "supervised"}), unlabelled=0)
    assert learner.ds is None
    numbers = losses.numbers()
    assert numbers["L_d"] == 0
    assert numbers["L_c"] == numbers["L_c_s"] > 0


def test_the_same_step_has_the_same_losses(recipe: Recipe) -> None:
    assert step(recipe)[1].numbers() == step(recipe)[1].numbers()


def test_weights_follow_the_ramp(recipe: Recipe) -> None:
    recipe = recipe.changed(losses={"mu_1": 2.0, "mu_2": 3.0, "ramp": 0.5})
    assert weights_at(4, recipe) == StepWeights(0.0, 0.0, recipe.losses.eta)
    assert weights_at(12, recipe) == StepWeights(2.0, 3.0, recipe.losses.eta)
    assert 0 < weights_at(8, recipe).mu_1 < 2.0


def opinions() -> tuple[PseudoLabel, PseudoLabel]:
    shape = (2, *CROP)
    weight = torch.ones(shape)
    return PseudoLabel(torch.full(shape, 1), weight), PseudoLabel(torch.full(shape, 2), weight * 0.5)


def test_unmixed_crops_keep_their_targets() -> None:
    crops = arrange(batch(), *opinions())
    assert crops.labelled[:2].eq(1).all()
    assert crops.labelled[2:].eq(0).all()
    assert crops.cs_target[2:].eq(2).all()
    assert crops.ds_target[2:].eq(1).all()
    assert crops.cs_weight[2:].eq(0.5).all()
    assert crops.cs_weight[:2].eq(0).all()


def test_pseudo_labels_of_mixed_crops_count_less(recipe: Recipe) -> None:
    full, half = (
        step(recipe.changed(training={"mixed_weight": weight}), boxes=True)[1] for weight in (1.0, 0.5)
    )
    assert float(half.cs_pseudo.detach()) == pytest.approx(float(full.cs_pseudo.detach()) / 2)
    assert float(half.ds_pseudo.detach()) == pytest.approx(float(full.ds_pseudo.detach()) / 2)
    assert float(half.cs_supervised.detach()) == float(full.cs_supervised.detach())
    unmixed = step(recipe.changed(training={"mixed_weight": 0.5}))[1]
    assert float(unmixed.cs_pseudo.detach()) == float(step(recipe)[1].cs_pseudo.detach())


def test_mixed_crops_carry_each_voxel_with_its_own_target_and_weight() -> None:
    made = batch(boxes=True)
    crops = arrange(made, *opinions())
    assert made.boxes is not None
    inside = made.boxes[0]
    torch.testing.assert_close(crops.images[0, 0][inside], made.unlabelled[0, 0][inside])
    torch.testing.assert_close(crops.images[0, 0][~inside], made.labelled[0, 0][~inside])
    torch.testing.assert_close(crops.images[2, 0][inside], made.labelled[0, 0][inside])
    assert crops.cs_target[0][inside].eq(2).all()
    assert crops.cs_target[0][~inside].equal(made.labels[0][~inside])
    assert crops.labelled[0][inside].eq(0).all()
    assert crops.labelled[2][inside].eq(1).all()
    assert crops.cs_weight[0][inside].eq(0.5).all()
    assert crops.ds_weight[0][inside].eq(1).all()
    assert (crops.labelled.bool() ^ (crops.cs_weight > 0)).all()


@pytest.mark.parametrize(("kept", "place"), [((True, False), slice(0, 2)), ((False, True), slice(2, 4))])
def test_a_step_may_learn_from_one_crop_of_a_mixed_pair(kept: tuple[bool, bool], place: slice) -> None:
    both = arrange(batch(boxes=True), *opinions())
    one = arrange(replace(batch(boxes=True), kept=kept), *opinions())
    for field, whole in vars(both).items():
        assert torch.equal(getattr(one, field), whole[place])


def test_without_unlabelled_crops_neighbours_are_mixed() -> None:
    made = batch(unlabelled=0, boxes=True)
    crops = arrange(made, None, None)
    assert made.boxes is not None
    torch.testing.assert_close(crops.images[0, 0][made.boxes[0]], made.labelled[1, 0][made.boxes[0]])
    assert crops.labelled.eq(1).all()


def test_a_crop_that_only_gives_is_not_learned_from() -> None:
    made = replace(batch(unlabelled=0, boxes=True), givers=1)
    crops, both = arrange(made, None, None), arrange(replace(made, givers=0), None, None)
    assert len(crops.images) == len(crops.labelled) == 1
    assert torch.equal(crops.images[0], both.images[0])
    assert torch.equal(crops.cs_target[0], both.cs_target[0])


def test_what_is_not_outlined_is_no_background(recipe: Recipe) -> None:
    """The first crop says nothing of class 2: its background has the value 3 in the label."""
    plain = batch(unlabelled=2, boxes=True)
    labels = plain.labels.clone()
    labels[0][labels[0] != 1] = 3
    merged = torch.tensor([[True, False, True]])
    learner = TrainingState(recipe, torch.device("cpu"))
    losses = diffcl_step(learner, replace(plain, labels=labels, merged=merged), 10)
    assert torch.isfinite(losses.cs + losses.ds)
    labels[0][labels[0] == 3] = 0
    other = diffcl_step(TrainingState(recipe, torch.device("cpu")), replace(plain, labels=labels), 10)
    assert losses.cs_supervised < other.cs_supervised


def test_what_is_not_drawn_has_no_supervised_loss(recipe: Recipe) -> None:
    """Neither mixed nor unlabelled, and DS is told nothing there: whatever was there, the losses are the same."""
    plain = batch(unlabelled=0)
    half = torch.zeros(plain.labels.shape, dtype=torch.bool)
    half[..., 4:] = True
    labels = plain.labels.masked_fill(half, UNDECIDED)
    crops = arrange(replace(plain, labels=labels), None, None)
    assert torch.equal(crops.labelled, (~half).float())
    learner = TrainingState(recipe, torch.device("cpu"))
    losses = diffcl_step(learner, replace(plain, labels=labels), 3)
    logits = learner.cs.network(plain.labelled)
    wanted = segmentation_loss(logits, plain.labels, (~half).float())
    torch.testing.assert_close(losses.cs_supervised, wanted)
    assert torch.isfinite(losses.ds_supervised)
    assert losses.ds_supervised > 0


def test_crops_of_which_nothing_is_drawn_teach_nothing(recipe: Recipe) -> None:
    learner = TrainingState(recipe, torch.device("cpu"))
    before = [parameter.clone() for parameter in learner.cs.network.parameters()]
    plain = batch(unlabelled=0)
    losses = diffcl_step(learner, replace(plain, labels=torch.full_like(plain.labels, UNDECIDED)), 3)
    assert losses.cs == losses.ds == 0
    learner.learn(losses.cs, losses.ds, 3)
    assert all(map(torch.equal, before, learner.cs.network.parameters()))


def test_what_is_not_drawn_is_in_no_bank(recipe: Recipe) -> None:
    learner = TrainingState(recipe, torch.device("cpu"))
    plain = batch()
    labels = torch.where(plain.labels == 1, UNDECIDED, plain.labels)
    diffcl_step(learner, replace(plain, labels=labels), 10)
    assert learner.bank.filled[1] == 0
    diffcl_step(learner, plain, 10)
    assert learner.bank.filled[1] > 0


def test_mixed_crops_carry_what_is_not_drawn_along(recipe: Recipe) -> None:
    made = batch(boxes=True)
    assert made.boxes is not None
    labels = made.labels.clone()
    labels[0] = UNDECIDED
    crops = arrange(replace(made, labels=labels), *opinions())
    inside = made.boxes[0]
    assert crops.labelled[2][inside].eq(0).all()
    assert crops.cs_weight[2][inside].eq(0).all()
    assert crops.cs_weight[2][~inside].eq(0.5).all()
    losses = diffcl_step(TrainingState(recipe, torch.device("cpu")), replace(made, labels=labels), 10)
    assert torch.isfinite(losses.cs + losses.ds)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_ds_sees_what_is_known_of_a_label_without_noise(recipe: Recipe, share: float) -> None:
    learner = TrainingState(recipe.changed(diffusion={"completion": share}), torch.device("cpu"))
    assert learner.ds is not None
    seen = []
    plain = learner.ds.network.both

    def both(
        image: torch.Tensor, noisy: torch.Tensor, time: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(noisy)
        return plain(image, noisy, time)

    learner.ds.network.both = both  # type: ignore[method-assign]
    given = batch(unlabelled=0)
    given.labels[:, 4:] = UNDECIDED
    diffcl_step(learner, given, 1)
    (noisy,) = seen
    clean = learner.diffusion.encode(given.labels.clamp(min=0), recipe.classes)
    without_noise = (noisy == clean).all(dim=1)
    assert without_noise[:, :4].flatten(1).any(dim=1).tolist() == [share == 1.0] * 2
    assert not without_noise[:, :4].all()
    assert not without_noise[:, 4:].any()
