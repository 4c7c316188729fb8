"""Cross-entropy plus soft Dice, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from diffcl.losses.segmentation import segmentation_loss, segmentation_losses


def logits_of(*foreground: float) -> torch.Tensor:
    """Logits `(1, 2, 1, 1, N)` whose softmax gives class 1 the probabilities."""
    p = torch.tensor(foreground).view(1, 1, 1, 1, -1)
    return torch.cat([(1 - p).log(), p.log()], dim=1)


def test_value_by_hand() -> None:
    classes = torch.tensor([1, 0]).view(1, 1, 1, 2)
    loss = segmentation_loss(logits_of(0.8, 0.4), classes, torch.ones(1, 1, 1, 2), eps=0.0)
    entropy = -(math.log(0.8) + math.log(0.6)) / 2
    dice = 2 * 0.8 / (0.8**2 + 0.4**2 + 1)
    assert float(loss) == pytest.approx((entropy + 1 - dice) / 2, rel=1e-6)


def test_a_voxel_without_weight_changes_nothing() -> None:
    weight = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
    classes = torch.tensor([1, 0, 1]).view(1, 1, 1, 3)
    losses = [segmentation_loss(logits_of(0.8, 0.4, last), classes, weight) for last in (0.1, 0.9)]
    assert float(losses[0]) == pytest.approx(float(losses[1]))
    changed = segmentation_loss(logits_of(0.8, 0.5, 0.1), classes, weight)
    assert float(losses[0]) != pytest.approx(float(changed))


def test_no_weight_at_all_is_exactly_nothing() -> None:
    classes = torch.ones(1, 1, 1, 2, dtype=torch.long)
    loss = segmentation_loss(logits_of(0.8, 0.4), classes, torch.zeros(1, 1, 1, 2))
    assert float(loss) == 0.0


def test_a_right_and_sure_answer_costs_nothing() -> None:
    classes = torch.randint(0, 3, (2, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float() * 40
    assert float(segmentation_loss(logits, classes, torch.ones(2, 4, 4, 4))) == pytest.approx(0, abs=1e-5)


def test_gradient_is_that_of_the_definition() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 2, 2, 2, generator=generator, requires_grad=True)
    classes = torch.randint(0, 3, (1, 2, 2, 2), generator=generator)
    weight = torch.rand(1, 2, 2, 2, generator=generator)
    segmentation_loss(logits, classes, weight).backward()
    assert logits.grad is not None
    step = torch.zeros_like(logits)
    step[0, 1, 0, 1, 0] = 1e-2
    with torch.no_grad():
        after = segmentation_loss(logits + step, classes, weight)
        before = segmentation_loss(logits - step, classes, weight)
    assert float(logits.grad[0, 1, 0, 1, 0]) == pytest.approx(float(after - before) / 2e-2, rel=1e-2)


def test_background_that_may_be_a_class_has_the_probability_of_both() -> None:
    """Three classes, of which the second one is not outlined: value 3 is background or class 2."""
    likely = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.7, 0.2]])
    logits = likely.log().T.reshape(1, 3, 1, 1, 2).requires_grad_()
    classes = torch.tensor([3, 1]).view(1, 1, 1, 2)
    merged = torch.tensor([[True, False, True]])
    (loss,) = segmentation_losses(logits, classes, (torch.ones(1, 1, 1, 2),), merged=merged, eps=1e-9)
    entropy = -(math.log(0.5 + 0.3) + math.log(0.7)) / 2
    first = 2 * 0.7 / (0.2**2 + 0.7**2 + 1)
    second = 2 * 0.0 / 0.2**2  # on the voxel whose label says that it is class 1
    dice = (first + second) / 2
    assert float(loss.detach()) == pytest.approx((entropy + 1 - dice) / 2, rel=1e-5)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_where_every_class_is_outlined_nothing_is_merged() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 3, 3, 3, 3, generator=generator)
    classes = torch.randint(0, 3, (2, 3, 3, 3), generator=generator)
    weight = torch.ones(2, 3, 3, 3)
    merged = torch.tensor([[True, True, False]])
    (loss,) = segmentation_losses(logits, classes, (weight,), merged=merged)
    torch.testing.assert_close(loss, segmentation_loss(logits, classes, weight))


def test_a_class_that_is_not_outlined_is_not_taught_to_be_background() -> None:
    """Only the sum of both counts, so no step makes one of them less likely than the other."""
    logits = torch.zeros(1, 3, 2, 2, 2, requires_grad=True)
    classes = torch.full((1, 2, 2, 2), 3)
    merged = torch.tensor([[True, False, True]])
    (loss,) = segmentation_losses(logits, classes, (torch.ones(1, 2, 2, 2),), merged=merged)
    loss.backward()
    background, other, unknown = logits.grad[0].flatten(1)
    torch.testing.assert_close(background, unknown)
    assert (other > 0).all()
