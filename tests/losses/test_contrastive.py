"""The memory bank and the contrastive loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from diffcl.losses.contrastive import MemoryBank, contrastive_loss, draw_voxels, voxel_vectors
from diffcl.recipe import Contrastive

SETTINGS = Contrastive(bank=4, draws=2, candidates=8, positives=1, negatives=2, temperature=0.5, per_step=3)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def full_bank() -> MemoryBank:
    """Class 0 points along x, class 1 along y, class 2 is empty."""
    bank = MemoryBank(3, 2, SETTINGS)
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    bank.add(torch.cat([x, x, y, y]), torch.tensor([0, 0, 1, 1]))
    return bank


def test_the_bank_keeps_the_most_recent_vectors() -> None:
    bank = MemoryBank(1, 1, SETTINGS)
    for first in (0, 3):
        bank.add(torch.arange(first, first + 3).float()[:, None], torch.zeros(3, dtype=torch.long))
    assert sorted(bank.vectors[0, :, 0].tolist()) == [2, 3, 4, 5]
    assert bank.filled.tolist() == [4]


def test_the_bank_takes_no_more_than_per_step() -> None:
    bank = MemoryBank(1, 1, SETTINGS)
    bank.add(torch.ones(50, 1), torch.zeros(50, dtype=torch.long))
    assert bank.filled.tolist() == [3]


def test_the_bank_is_part_of_a_state() -> None:
    bank, copy = full_bank(), MemoryBank(3, 2, SETTINGS)
    copy.load_state_dict(bank.state_dict())
    torch.testing.assert_close(copy.vectors, bank.vectors)
    assert copy.filled.tolist() == [2, 2, 0]


def test_a_class_with_too_few_vectors_is_not_drawn() -> None:
    assert full_bank().draw(2, generator()) is None


def test_loss_by_hand() -> None:
    """For class 0 (x axis) the positive is b0, the negatives are b1 and b2."""
    candidates = functional.normalize(torch.tensor([[1.0, 0.2], [0.0, 1.0], [-1.0, 0.1]]), dim=1)
    loss = contrastive_loss(candidates, torch.tensor([True, False, False]), full_bank(), generator())
    near, *far = (candidates[:, 0] / 0.5).tolist()
    expected = -math.log(math.exp(near) / (math.exp(near) + sum(math.exp(value) for value in far)))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_gradient_reaches_the_candidates_and_never_the_bank() -> None:
    bank = full_bank()
    candidates = functional.normalize(torch.randn(6, 2, generator=generator()), dim=1).requires_grad_()
    contrastive_loss(candidates, torch.tensor([True, True, False]), bank, generator()).backward()
    assert candidates.grad is not None
    assert bool(candidates.grad.abs().sum() > 0)
    assert not bank.vectors.requires_grad
    assert bank.vectors.grad is None


@pytest.mark.parametrize(
    "present", [[False, False, False], [False, False, True]], ids=["absent", "empty bank"]
)
def test_a_class_that_is_absent_or_unknown_adds_exactly_nothing(present: list[bool]) -> None:
    candidates = functional.normalize(torch.randn(6, 2, generator=generator()), dim=1)
    assert float(contrastive_loss(candidates, torch.tensor(present), full_bank(), generator())) == 0.0


def test_learning_pulls_the_positive_to_its_class() -> None:
    candidates = torch.tensor([[0.8, 0.6], [0.0, 1.0], [0.1, -1.0]], requires_grad=True)
    contrastive_loss(candidates, torch.tensor([True, False, False]), full_bank(), generator()).backward()
    assert candidates.grad is not None
    assert candidates.grad[0, 0] < 0  # a step against the gradient moves b0 along x
    assert (candidates.grad[1:, 0] > 0).all()


def test_vectors_are_those_of_their_voxels() -> None:
    features = torch.randn(2, 3, 4, 5, 6, generator=generator())
    where = torch.tensor([0, 4 * 5 * 6 + 2 * 30 + 3 * 6 + 4])
    vectors = voxel_vectors(features, where)
    torch.testing.assert_close(vectors, torch.stack([features[0, :, 0, 0, 0], features[1, :, 2, 3, 4]]))


def test_voxels_are_drawn_evenly_over_the_classes() -> None:
    groups = torch.zeros(1, 10, 10, 10, dtype=torch.long)
    groups[0, :2, :2, :5] = 1
    groups[0, 5] = -1
    drawn = groups.flatten()[draw_voxels(groups, 32, 2, generator())]
    assert drawn.bincount().tolist() == [16, 16]
    assert len(draw_voxels(groups, 32, 14, generator())) == 32, "classes that do not occur take no share"
    assert len(draw_voxels(torch.full_like(groups, -1), 32, 2, generator())) == 0
