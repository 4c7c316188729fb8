from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from diffcl.networks.haar import haar_forward, haar_inverse, high_band_count

SIZES = [(4, 6, 8), (5, 6, 7), (3, 3, 3), (1, 1, 1), (1, 2, 5)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_inverse_restores_any_size(size: tuple[int, int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    low, high = haar_forward(x)
    half = tuple((length + 1) // 2 for length in size)
    assert low.shape == (2, 3, *half)
    assert high.shape == (2, 7, 3, *half)
    torch.testing.assert_close(haar_inverse(low, high, size), x)


@pytest.mark.parametrize("strides", [(2, 2, 1), (1, 2, 2), (1, 2, 1)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_inverse_restores_what_was_halved_along_some_axes(
    size: tuple[int, int, int], strides: tuple[int, int, int]
) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    low, high = haar_forward(x, strides)
    half = tuple(-(-length // step) for length, step in zip(size, strides, strict=True))
    assert low.shape == (2, 3, *half)
    assert high.shape == (2, high_band_count(strides), 3, *half)
    torch.testing.assert_close(haar_inverse(low, high, size, strides), x)


def test_in_the_plane_each_slice_is_transformed_by_itself() -> None:
    x = torch.randn(1, 2, 6, 4, 3, dtype=torch.float64)
    low, high = haar_forward(x, (2, 2, 1))
    for z in range(3):
        alone_low, alone_high = haar_forward(x[..., z : z + 1], (2, 2, 1))
        torch.testing.assert_close(low[..., z : z + 1], alone_low)
        torch.testing.assert_close(high[..., z : z + 1], alone_high)
    torch.testing.assert_close(low.square().sum() + high.square().sum(), x.square().sum())


def test_energy_is_kept() -> None:
    x = torch.randn(1, 2, 8, 6, 4, dtype=torch.float64)
    low, high = haar_forward(x)
    torch.testing.assert_close(low.square().sum() + high.square().sum(), x.square().sum())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_constant_volume_has_no_detail(size: tuple[int, int, int]) -> None:
    low, high = haar_forward(torch.full((1, 1, *size), 3.0, dtype=torch.float64))
    torch.testing.assert_close(low, torch.full_like(low, 3 * 8**0.5))
    torch.testing.assert_close(high, torch.zeros_like(high))


@pytest.mark.parametrize(("axis", "band"), [(2, 3), (3, 1), (4, 0)], ids=["X", "Y", "Z"])
def test_stripes_along_one_axis_lie_in_its_band(axis: int, band: int) -> None:
    signs = torch.tensor([1.0, -1.0]).repeat(2).view([-1 if axis == a else 1 for a in range(5)])
    low, high = haar_forward(signs.expand(1, 1, 4, 4, 4).double())
    torch.testing.assert_close(low, torch.zeros_like(low))
    energies = high.square().sum(dim=(0, 2, 3, 4, 5))
    torch.testing.assert_close(energies, functional.one_hot(torch.tensor(band), 7) * energies.sum())


def test_missing_low_band_is_zero() -> None:
    low, high = haar_forward(torch.randn(2, 3, 5, 4, 3))
    size = (5, 4, 3)
    torch.testing.assert_close(
        haar_inverse(None, high, size), haar_inverse(torch.zeros_like(low), high, size)
    )


def test_autocast_keeps_the_precision_of_the_volume() -> None:
    x = torch.randn(1, 2, 5, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        restored = haar_inverse(*haar_forward(x), x.shape[2:])
    torch.testing.assert_close(restored, x)


def test_gradient_flows_through_both_ways() -> None:
    x = torch.randn(1, 1, 3, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(haar_forward, x)
    assert torch.autograd.gradcheck(lambda v: haar_inverse(*haar_forward(v), v.shape[2:]), x)


def test_bfloat16_stays_bfloat16() -> None:
    x = torch.randn(1, 2, 5, 4, 3).bfloat16()
    low, high = haar_forward(x)
    assert low.dtype == high.dtype == torch.bfloat16
    torch.testing.assert_close(haar_inverse(low, high, x.shape[2:]), x, rtol=0.05, atol=0.05)
