"""A training with labels of which a part is unknown."""

from __future__ import annotations

import torch
from torch import Tensor
from trainable import organ

from diffcl.data.batches import Batches
from diffcl.data.cache import TrainingScan
from diffcl.data.preprocess import prepare, prepare_label
from diffcl.geometry import Geometry
from diffcl.io.in_memory import scan_in_memory
from diffcl.labels import UNKNOWN
from diffcl.recipe import Recipe
from diffcl.training.label_remarks import label_remarks
from diffcl.training.state import TrainingState
from diffcl.training.step import diffcl_step


def found_between(values: Tensor, truth: Tensor, drawn: Tensor, image: Tensor, recipe: Recipe) -> float:
    """Share of the structures between the drawn slices that CS finds once it has learned from one scan.

    Args:
        values: The label that teaches `(X, Y, Z)`.
        truth: What is there.
        drawn: Which voxels are drawn.
        image: The scan.
        recipe: Settings.
    """
    scan = TrainingScan("one", image, values, drawn="in part" if (values == UNKNOWN).any() else "")
    learner = TrainingState(recipe, torch.device("cpu"))
    for step, batch in Batches([scan], [], recipe).ahead(1, recipe.training.steps):
        losses = diffcl_step(learner, batch, step)
        learner.learn(losses.cs, losses.ds, step)
    marked = TrainingScan("one", image, truth + 4 * drawn)  # what is drawn has other values here
    seen = [Batches([marked], [], recipe)(step) for step in range(1001, 1005)]
    images, labels = (torch.cat([getattr(one, name) for one in seen]) for name in ("labelled", "labels"))
    with torch.no_grad():
        classes = learner.cs.network.eval()(images).argmax(dim=1)
    return float((classes > 0)[(labels > 0) & (labels < 4)].float().mean())


def test_a_structure_that_is_drawn_on_some_slices_is_found_between_them_nearly_as_if_all_were_drawn(
    recipe: Recipe,
) -> None:
    """The other slices are drawn too, unknown, or background, which teaches that nothing is there."""
    image, label = organ(0)
    recipe = recipe.changed(
        training={
            "steps": 120,
            "supervised_start": 120,
            "method": "supervised",
            "mix": 0.0,
            "learning_rate": 0.02,
        },
        augmentation={"rotate": 0.0, "scale": 0.0, "blur": 0.0, "noise": 0.0, "gamma": 0.0, "shift": 0.0},
        cs={"hf_mamba_levels": []},
    )
    prepared = prepare(scan_in_memory(image, "one"), recipe)
    truth = prepare_label(label, Geometry.of(image), recipe, "label").to(torch.uint8)
    drawn = torch.zeros(truth.shape, dtype=torch.bool)
    drawn[..., ::3] = True
    labels = truth, truth.masked_fill(~drawn, UNKNOWN), truth.masked_fill(~drawn, 0)
    whole, unknown, background = (
        found_between(values, truth, drawn, prepared.image, recipe) for values in labels
    )
    assert unknown > 0.7 * whole
    assert background < 0.5 * whole


def test_people_are_told_how_much_is_drawn(recipe: Recipe) -> None:
    label = torch.full((8, 8, 8), UNKNOWN, dtype=torch.uint8)
    label[..., 2] = 1
    label[..., 4] = 2
    scan = TrainingScan("one", torch.zeros(1, 8, 8, 8), label, drawn="drawn on 2 of 8 axial slices")
    assert label_remarks([scan], recipe) == (
        "one (drawn on 2 of 8 axial slices): what is not drawn there counts as unlabelled.",
    )
