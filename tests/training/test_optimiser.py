"""Update rules, against what they are defined to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffcl.recipe import Recipe, Training
from diffcl.training.muon import Muon, orthogonal
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
    optimiser.step()  # a quarter of the way through the warm-up of two steps
    update = (before - kernel.detach()).flatten(1)
    lengths = torch.linalg.svdvals(update)
    assert lengths.max() / lengths.min() < 2
    assert update.square().mean().sqrt().item() == pytest.approx(0.2 * 0.02 / 4, rel=0.2)


def moves(optimiser: Optimiser, network: nn.Linear, advance: float, count: int) -> list[float]:
    """How far plain gradient descent takes a weight in each step, whose gradient is 1."""
    found, before = [], network.weight.item()
    for _ in range(count):
        network.weight.grad = torch.ones(1, 1)
        optimiser.step(advance)
        found.append(before - network.weight.item())
        before = network.weight.item()
    return found


def plain(network: nn.Linear) -> Optimiser:
    """With AdamW every step of a gradient that stays the same is as long as the learning rate."""
    return Optimiser(network, SETTINGS.model_copy(update={"optimiser": "adamw"}))


@pytest.mark.parametrize("advance", [1.0, 2.5])
def test_every_step_has_the_learning_rate_of_the_middle_of_its_way(advance: float) -> None:
    network = nn.Linear(1, 1, bias=False)
    moved = moves(plain(network), network, advance, int(100 / advance))
    places = advance * (torch.arange(len(moved)) + 0.5)
    cosine = 0.5 * (1 + torch.cos(torch.pi * (places - 2) / 98))
    expected = 0.02 * torch.where(places < 2, places / 2, cosine)
    torch.testing.assert_close(torch.tensor(moved), expected, rtol=1e-3, atol=1e-6)
    assert min(moved) > 0


@pytest.mark.parametrize("former", [False, True], ids=["own state", "state of before"])
def test_a_schedule_goes_on_where_it_was(former: bool) -> None:
    network, other = (nn.Linear(1, 1, bias=False) for _ in range(2))
    one, two = plain(network), plain(other)
    moves(one, network, 3.0, 5)
    state = one.state_dict()
    if former:
        state = {"rules": state["rules"], "schedules": [{"last_epoch": state["place"]}] * len(state["rules"])}
    two.load_state_dict(state)
    assert moves(one, network, 3.0, 5) == pytest.approx(moves(two, other, 3.0, 5), rel=1e-3)


@pytest.mark.parametrize(("rows", "columns"), [(32, 432), (64, 64), (128, 27)])
def test_muon_turns_a_matrix_as_the_iteration_of_its_definition_does(rows: int, columns: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    matrix *= torch.logspace(-2, 0, columns)
    expected = matrix.double() / matrix.double().norm()
    for _ in range(5):
        gram = expected @ expected.T
        expected = 3.4445 * expected + (-4.7750 * gram + 2.0315 * gram @ gram) @ expected
    torch.testing.assert_close(orthogonal(matrix), expected.float(), rtol=1e-3, atol=1e-4)


def test_a_step_of_muon_is_that_of_torch_but_for_its_numbers_of_sixteen_bits() -> None:
    random = torch.Generator().manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(16, 48)) for _ in range(2))
    rules = (
        Muon([ours], 0.01, weight_decay=0.1),
        torch.optim.Muon([theirs], 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        ours.grad = torch.randn(16, 48, generator=random)
        theirs.grad = ours.grad.clone()
        for rule in rules:
            rule.step()
    assert (ours - theirs).norm() < 0.03 * (ours - 1).norm()


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
