"""The compiled detail of a feature map is that of the definition, forward and backward."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcl.networks.high_bands import (
    high_bands,
    high_bands_by_definition,
    reweighted,
    reweighted_by_definition,
)

SIZES = [(4, 6, 8), (5, 4, 6), (4, 5, 6), (4, 6, 5), (3, 5, 7), (1, 1, 1), (1, 2, 3), (2, 1, 1)]


def inputs(size: tuple[int, ...], *, items: int = 2, channels: int = 32) -> tuple[Tensor, Tensor]:
    """A random map and random weights of its detail."""
    torch.manual_seed(0)
    blocks = math.prod((length + 1) // 2 for length in size)
    return torch.randn(items, channels, *size), torch.randn(items, blocks, 7 * channels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_bands_and_their_gradient_are_those_of_the_definition(
    size: tuple[int, ...], layout: torch.memory_format
) -> None:
    features, arriving = inputs(size)
    x = features.detach().to(memory_format=layout).requires_grad_()
    exact = features.detach().double().requires_grad_()
    bands, true = high_bands(x), high_bands_by_definition(exact)
    assert bands.shape == true.shape
    assert torch.allclose(bands.double(), true, atol=1e-5)
    bands.backward(arriving)
    true.backward(arriving.double())
    assert x.grad is not None
    assert exact.grad is not None
    assert torch.allclose(x.grad.double(), exact.grad, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_re_weighed_detail_and_its_gradients_are_those_of_the_definition(size: tuple[int, ...]) -> None:
    features, weights = inputs(size)
    bands = torch.randn_like(weights)
    ours = [tensor.clone().requires_grad_() for tensor in (features, bands, weights)]
    exact = [tensor.double().requires_grad_() for tensor in (features, bands, weights)]
    one, other = reweighted(*ours), reweighted_by_definition(*exact)
    assert one.shape == features.shape
    assert torch.allclose(one.double(), other, atol=1e-5)
    arriving = torch.randn_like(features)
    one.backward(arriving)
    other.backward(arriving.double())
    for mine, true in zip(ours, exact, strict=True):
        assert mine.grad is not None
        assert true.grad is not None
        assert torch.allclose(mine.grad.double(), true.grad, atol=1e-4)


def test_bfloat16_is_the_float32_result_rounded() -> None:
    features, weights = (tensor.bfloat16() for tensor in inputs((5, 6, 7)))
    bands = high_bands(features)
    assert torch.equal(bands, high_bands(features.float()).bfloat16())
    whole = reweighted(features.float(), bands.float(), weights.float())
    assert torch.equal(reweighted(features, bands, weights), whole.bfloat16())


@pytest.mark.usefixtures("threads")
def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    features, weights = inputs((36, 34, 32))
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        bands = high_bands(features)
        found.append((bands, reweighted(features, bands, weights)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
