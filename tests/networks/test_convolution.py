"""The convolution is torch's own, whichever kernel computes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from diffcl.networks.convolution import Convolution


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((1, 16, 6, 5, 3), {"kernel_size": 3, "padding": 1, "bias": False}),
        ((1, 4, 9, 7, 5), {"kernel_size": 3, "padding": 1}),
        ((3, 4, 6, 6, 6), {"kernel_size": 2, "stride": 2, "bias": False}),
        ((1, 4, 1, 1, 1), {"kernel_size": 1}),
        ((1, 4, 9, 7, 5), {"kernel_size": (3, 3, 1), "padding": (1, 1, 0)}),
        ((2, 1, 9, 7, 5), {"kernel_size": (3, 3, 1), "padding": (1, 1, 0), "bias": False}),
        ((1, 4, 8, 6, 1), {"kernel_size": (1, 3, 1), "padding": (0, 1, 0)}),
        ((1, 4, 9, 7, 5), {"kernel_size": (5, 3, 1)}),
        ((1, 16, 3, 7, 5), {"kernel_size": (5, 3, 1), "padding": (2, 1, 0)}),
        ((1, 17, 4, 2, 3), {"kernel_size": (1, 5, 7), "padding": (0, 2, 3), "bias": False}),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_value_and_gradient_are_those_of_the_definition(
    shape: tuple[int, ...], settings: dict[str, Any], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    ours = Convolution(shape[1], 8, **settings).to(memory_format=layout)
    exact = nn.Conv3d(shape[1], 8, **settings).double()
    exact.load_state_dict(ours.state_dict())
    x = torch.randn(shape).to(memory_format=layout).requires_grad_()
    y = x.detach().double().requires_grad_()
    one, other = ours(x), exact(y)
    one.square().sum().backward()
    other.square().sum().backward()
    assert torch.allclose(one.double(), other, atol=1e-5)
    assert x.grad is not None
    assert y.grad is not None
    assert torch.allclose(x.grad.double(), y.grad, rtol=1e-4, atol=1e-5)
    assert ours.weight.grad is not None
    assert exact.weight.grad is not None
    assert torch.allclose(ours.weight.grad.double(), exact.weight.grad, rtol=1e-4, atol=1e-3)


def test_a_small_volume_gets_the_fast_kernel() -> None:
    x, kernels = torch.randn(1, 16, 8, 8, 8), {}
    for kind in (nn.Conv3d, Convolution):
        layer = kind(16, 16, kernel_size=3, padding=1)
        with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as seen:
            layer(x)
        kernels[kind] = {event.key for event in seen.key_averages()}
    assert "aten::mkldnn_convolution" in kernels[Convolution]
    assert "aten::slow_conv3d_forward" in kernels[nn.Conv3d], "torch has changed: Convolution may be needless"


def test_a_small_volume_has_a_fast_way_back_too() -> None:
    convolution = Convolution(32, 32, kernel_size=3, padding=1)
    for size, way in ((20, "SmallConvolutionBackward"), (26, "aten::convolution_backward")):
        x = torch.zeros(1, 32, size, size, 4).requires_grad_()
        y = convolution(x).sum()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            y.backward()
        names = {event.key for event in found.key_averages()}
        assert way in names
        assert len(names & {"SmallConvolutionBackward", "aten::convolution_backward"}) == 1


def test_what_does_not_learn_gets_no_gradient() -> None:
    """A frozen kernel, and an image that nobody learns."""
    convolution = Convolution(16, 8, kernel_size=3, padding=1)
    image = torch.randn(1, 16, 5, 6, 7)
    convolution(image).sum().backward()
    assert image.grad is None
    assert convolution.weight.grad is not None
    convolution.requires_grad_(requires_grad=False)
    convolution.weight.grad = None
    image.requires_grad_()
    convolution(image).sum().backward()
    assert image.grad is not None
    assert convolution.weight.grad is None


def test_slices_that_are_read_by_themselves_are_read_in_two_dimensions() -> None:
    layer = Convolution(8, 8, kernel_size=(3, 3, 1), padding=(1, 1, 0)).to(
        memory_format=torch.channels_last_3d
    )
    x = torch.randn(1, 8, 12, 10, 4).to(memory_format=torch.channels_last_3d)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        found = layer(x)
    (event,) = (one for one in seen.events() if one.name == "aten::mkldnn_convolution")
    assert [len(shape) for shape in event.input_shapes[:2]] == [4, 4]
    assert found.stride() == x.stride()


def test_autocast_is_obeyed() -> None:
    layer = Convolution(4, 4, kernel_size=3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 4, 4, 4, 4)).dtype == torch.bfloat16
