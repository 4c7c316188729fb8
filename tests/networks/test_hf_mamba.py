from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcl.networks.haar import haar_forward
from diffcl.networks.hf_mamba import HFMamba

SIZES = [(8, 8, 8), (7, 9, 4), (1, 1, 1), (1, 5, 2)]


@pytest.fixture
def module() -> HFMamba:
    """A module that has learned something."""
    torch.manual_seed(0)
    made = HFMamba(3, d_model=8, d_state=4)
    nn.init.normal_(made.attention.weight)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_new_module_is_the_identity_bit_for_bit(size: tuple[int, int, int], dtype: torch.dtype) -> None:
    features = torch.randn(2, 3, *size).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert torch.equal(HFMamba(3)(features), features)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_low_band_passes_unchanged(module: HFMamba, size: tuple[int, int, int]) -> None:
    even = tuple(length + length % 2 for length in size)
    features = torch.randn(1, 3, *even)
    changed = module(features)
    assert not torch.equal(changed, features)
    torch.testing.assert_close(haar_forward(changed)[0], haar_forward(features)[0])


def test_volume_without_detail_passes_unchanged(module: HFMamba) -> None:
    flat = torch.full((1, 3, 5, 6, 7), 2.5)
    torch.testing.assert_close(module(flat), flat)


def test_detail_is_weighed_by_all_of_the_volume(module: HFMamba) -> None:
    features = torch.randn(1, 3, 8, 8, 8)
    for corner in (0, 7):
        changed = features.clone()
        changed[..., corner, corner, corner] += 5
        difference = (module(changed) - module(features))[0, :, 7 - corner, 7 - corner, 7 - corner]
        assert difference.any()


def test_first_step_trains_the_attention_and_the_next_all_parameters() -> None:
    torch.manual_seed(0)
    module = HFMamba(3, d_model=8)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    features = torch.randn(1, 3, 6, 6, 6)

    def step() -> dict[str, Tensor]:
        optimiser.zero_grad()
        module(features).square().mean().backward()
        optimiser.step()
        return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad.any()}

    assert set(step()) == {"attention.weight", "attention.bias"}
    assert set(step()) == {name for name, _ in module.named_parameters()}


def test_autocast_to_bfloat16_stays_near_float32(module: HFMamba) -> None:
    features = torch.randn(1, 3, 6, 5, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(features)
    got.float().sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(got.float(), module(features), rtol=0.1, atol=0.1)


def test_thick_slices_exchange_no_detail_but_by_reading() -> None:
    module = HFMamba(3, d_model=8, d_state=4, strides=(2, 2, 1))
    assert module.embed.in_features == 3 * 3
    stack = torch.randn(1, 3, 6, 4, 3)
    assert torch.equal(module(stack), stack)
    nn.init.normal_(module.attention.weight)
    flat_slices = torch.randn(1, 3, 1, 1, 5).expand(1, 3, 6, 4, 5)
    torch.testing.assert_close(module(flat_slices), flat_slices)
