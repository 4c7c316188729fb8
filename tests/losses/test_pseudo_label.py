"""Pseudo-labels carry no gradient, drop unsure voxels and stray pieces."""

from __future__ import annotations

import torch

from diffcl.losses.pseudo_label import pseudo_label
from diffcl.recipe import Losses


def probabilities() -> torch.Tensor:
    """Class 1 in a block of 8 voxels and in one stray voxel, a little unsure at one corner."""
    object_ = torch.full((1, 1, 5, 5, 5), 0.1)
    object_[0, 0, :2, :2, :2] = 0.9
    object_[0, 0, 0, 0, 0] = 0.6
    object_[0, 0, 4, 4, 4] = 0.95
    return torch.cat([1 - object_, object_], dim=1).requires_grad_()


def test_the_most_probable_class_without_gradient() -> None:
    found = pseudo_label(probabilities(), Losses(confidence=0.0, largest_component=False))
    assert int(found.classes.sum()) == 9
    assert found.weight.eq(1).all()
    assert not found.classes.requires_grad
    assert not found.weight.requires_grad


def test_unsure_voxels_carry_no_weight() -> None:
    found = pseudo_label(probabilities(), Losses(confidence=0.8, largest_component=False))
    assert found.weight[0, 0, 0, 0] == 0
    assert int((found.weight == 0).sum()) == 1


def test_a_stray_piece_becomes_background() -> None:
    found = pseudo_label(probabilities(), Losses(confidence=0.0, largest_component=True))
    assert int(found.classes.sum()) == 8
    assert found.classes[0, 4, 4, 4] == 0
    assert found.classes.dtype == torch.int64


def test_each_class_keeps_its_own_largest_piece() -> None:
    found = torch.zeros(2, 3, 5, 5, 5)
    found[:, 0] = 0.5
    found[:, 1, :2, :2, :2] = found[:, 1, 4, 4, 4] = 0.9
    found[:, 2, 2:4, :2, :2] = found[0, 2, 0, 4, 4] = 0.8
    for sample in pseudo_label(found, Losses(confidence=0.0, largest_component=True)).classes:
        assert sample.flatten().bincount().tolist() == [109, 8, 8]


def test_only_classes_of_one_piece_lose_their_smaller_ones() -> None:
    found = torch.zeros(1, 3, 5, 5, 5)
    found[:, 0] = 0.5
    found[:, 1, :2, :2, :2] = found[:, 1, 4, 4, 4] = 0.9
    found[:, 2, 2:4, :2, :2] = found[:, 2, 0, 4, 4] = 0.8
    for single, counts in (((1,), [108, 8, 9]), ((2,), [108, 9, 8]), ((), [107, 9, 9])):
        (sample,) = pseudo_label(found, Losses(confidence=0.0, largest_component=single)).classes
        assert sample.flatten().bincount().tolist() == counts
