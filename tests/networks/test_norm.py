"""The compiled normalised activation equals its definition, in value and gradient, for any volume."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcl.networks.norm import NormActivation, activation_by_definition, normalised_activation

SHAPES = [(2, 16, 5, 6, 7), (1, 48, 9, 1, 13), (3, 32, 1, 2, 5), (2, 16, 33, 17, 19)]


def volume(shape: tuple[int, ...], seed: int, mean: float = 0.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3 + mean


@pytest.mark.parametrize("with_residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient_are_those_of_the_definition(shape: tuple[int, ...], with_residual: bool) -> None:
    x, residual, arriving = volume(shape, 0, mean=50), volume(shape, 1), volume(shape, 2)
    gain, bias = volume(shape[:2], 3), volume(shape[:2], 4)
    results = []
    for kind, function in ((torch.float32, normalised_activation), (torch.float64, activation_by_definition)):
        inputs = [tensor.to(kind).requires_grad_() for tensor in (x, gain, bias, residual)]
        used = inputs if with_residual else inputs[:3]
        y = function(*used)
        results.append([y.detach(), *torch.autograd.grad(y, used, arriving.to(kind))])
    for fast, true in zip(*results, strict=True):
        assert fast.shape == true.shape
        assert float((fast - true).abs().max()) < 2e-5 * max(1.0, float(true.abs().max()))


def test_parameters_are_those_of_an_instance_norm() -> None:
    plain, ours = nn.InstanceNorm3d(16, affine=True), NormActivation(16)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.uniform_(-1, 1)
    ours.load_state_dict(plain.state_dict())
    x = volume((2, 16, 4, 5, 6), 0)
    assert torch.allclose(ours(x), functional.leaky_relu(plain(x), 0.01), atol=1e-5)


@pytest.mark.parametrize("channels", [16, 12], ids=["compiled", "by definition"])
def test_modulation_scales_and_shifts_what_is_normalised(channels: int) -> None:
    norm, x = NormActivation(channels), volume((2, channels, 4, 4, 4), 0)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    scale, shift = volume((2, channels), 1), volume((2, channels), 2)
    normalised = functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    wanted = functional.leaky_relu(
        normalised * (1 + scale)[..., None, None, None] + shift[..., None, None, None], 0.01
    )
    assert torch.allclose(norm(x, torch.cat([scale, shift], dim=1)), wanted, atol=1e-5)


@pytest.mark.usefixtures("threads")
def test_the_result_does_not_depend_on_threads_or_layout() -> None:
    x, ones, zeros = volume((2, 16, 31, 23, 19), 0), torch.ones(2, 16), torch.zeros(2, 16)
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results += [normalised_activation(layout, ones, zeros)
                    for layout in (x, x.contiguous(memory_format=torch.channels_last_3d))]  # fmt: skip
    assert all(torch.equal(result, results[0]) for result in results)


def test_bfloat16_is_computed_in_float32() -> None:
    x, gain, bias = volume((1, 16, 8, 8, 8), 0).bfloat16(), volume((1, 16), 1), volume((1, 16), 2)
    true = activation_by_definition(x.double(), gain.double(), bias.double())
    found = normalised_activation(x, gain, bias)
    assert found.dtype == torch.bfloat16
    assert float((found.double() - true).abs().max()) < 2**-8 * float(true.abs().max())


def test_a_volume_of_one_voxel_becomes_its_bias() -> None:
    bias = torch.linspace(-1, 1, 16)[None]
    found = normalised_activation(volume((1, 16, 1, 1, 1), 0), torch.ones(1, 16), bias)
    assert torch.allclose(found.flatten(), functional.leaky_relu(bias, 0.01).flatten())


def test_an_infinite_loss_is_not_hidden() -> None:
    x = volume((1, 16, 3, 3, 3), 0)
    x[0, 3, 1, 1, 1] = torch.nan
    found = normalised_activation(x, torch.ones(1, 16), torch.zeros(1, 16))
    assert found[0, 3].isnan().all()
    assert found[0, [0, 1, 2, *range(4, 16)]].isfinite().all()
