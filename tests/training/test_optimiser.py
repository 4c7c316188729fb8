"""Update rules, against what they are defined to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffcl.recipe import Recipe, Training
from diffcl.training.optimiser import Matrices, Optimiser
from diffcl.training.state import TrainingState

SETTINGS = Training(steps=100, supervised_start=0, learning_rate=0.02, weight_decay=0.0)


def test_matrices_share_the_memory_of_the_kernels() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Conv3d(4, 6, 3), nn.ConvTranspose3d(6, 4, 2))
    matrices = Matrices(network)
    assert [tuple(view.shape) for view in matrices.views] == [(6, 27 * 4), (6, 8 * 4)]
    for kernel, view in zip(matrices.kernels, matrices.views, strict=True):
        view.data[2, 5] = 77.0
        assert (kernel == 77.0).sum() == 1


def test_a_step_of_muon_turns_a_gradient_into_directions_of_one_length() -> None:
    """Singular values of the update are about equal, whatever those of the gradient are; 0.2 a number on average."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(8, 16, 3))
    kernel = network[0].weight
    optimiser = Optimiser(network, SETTINGS.model_copy(update={"optimiser": "muon"}))
    before = kernel.detach().clone()
    kernel.grad = torch.randn_like(kernel) * torch.logspace(-0.5, 0.5, 16)[:, None, None, None, None]
    for _ in range(2):  # the first one is of the warm-up, at a learning rate of 0
        optimiser.step()
    update = (before - kernel.detach()).flatten(1)
    lengths = torch.linalg.svdvals(update)
    assert lengths.max() / lengths.min() < 2
    assert update.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.2)


@pytest.mark.parametrize("rule", ["adamw", "sgd", "muon"])
def test_every_weight_that_has_a_gradient_learns(rule: str, recipe: Recipe) -> None:
    changed = recipe.changed(training={"optimiser": rule, "weight_decay": 0.0})
    for student in (
        TrainingState(changed, torch.device("cpu")).cs,
        TrainingState(changed, torch.device("cpu")).ds,
    ):
        assert student is not None
        before = {name: weight.detach().clone() for name, weight in student.network.named_parameters()}
        for _ in range(3):
            student.learn(
                torch.stack([(weight - 1).square().sum() for weight in student.network.parameters()]).sum()
            )
        nearer = [
            ((weight - 1).square().sum() < (before[name] - 1).square().sum()).item()
            or (before[name] == 1).all()
            for name, weight in student.network.named_parameters()
        ]
        assert all(nearer)
