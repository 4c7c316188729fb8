"""Instance normalisation, residual sum and leaky ReLU in one: what follows every convolution of a V-Net."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from diffcl.networks.kernels import WIDTH
from diffcl.networks.kernels.memory import flat, parts, rows
from diffcl.networks.kernels.switch import kernels_compute
from diffcl.networks.kernels.threads import for_each
from diffcl.networks.tracing import is_written

SLOPE = 0.01
"""Slope of the leaky ReLU below zero."""

EPSILON = 1e-5
"""What is added to a variance before its root is divided by."""


class NormActivation(nn.Module):
    """`leaky_relu(gain norm(x) + bias + residual)`, with the parameters of `nn.InstanceNorm3d(affine=True)`.

    Args:
        channels: Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, modulation: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """A volume `(B, C, X, Y, Z)` to the same shape.

        Args:
            x: The volume.
            modulation: `(B, 2 C)`, scale and shift of the normalised volume, of each item: the normalised
                volume times `1 + scale`, plus the shift.
            residual: Added before the activation, of the shape of x.
        """
        gain, bias = self.weight.expand(x.shape[0], -1), self.bias.expand(x.shape[0], -1)
        if modulation is not None:
            scale, shift = modulation.float().chunk(2, dim=1)
            gain, bias = gain * (1 + scale), bias * (1 + scale) + shift
        return normalised_activation(x, gain, bias, residual)


def activation_by_definition(x: Tensor, gain: Tensor, bias: Tensor, residual: Tensor | None = None) -> Tensor:
    """The normalised activation in the plain operations of torch; see `normalised_activation`."""
    normalised = functional.instance_norm(x, eps=EPSILON)
    y = torch.addcmul(bias[:, :, None, None, None], normalised, gain[:, :, None, None, None])
    return functional.leaky_relu(y if residual is None else y + residual, SLOPE)


def normalised_activation(x: Tensor, gain: Tensor, bias: Tensor, residual: Tensor | None = None) -> Tensor:
    """`leaky_relu(gain norm(x) + bias + residual)`; norm has zero mean and unit variance over each volume.

    On a CPU, float32 and bfloat16 with a multiple of sixteen channels are computed by compiled kernels, channels
    innermost in memory, two passes over the volume forward and two backward; the result is the same for any
    number of threads. Everything else is computed by definition.

    Args:
        x: `(B, C, X, Y, Z)`.
        gain: `(B, C)`.
        bias: `(B, C)`.
        residual: Of the shape of x.
    """
    together = residual is None or residual.dtype == x.dtype
    compiled = (
        x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and x.shape[1] % WIDTH == 0
    )
    if not (compiled and together) or is_written() or not kernels_compute(_try, x.dtype):
        return activation_by_definition(x, gain, bias, residual)
    y: Tensor = _Compiled.apply(x, gain, bias, residual)
    return y


def _try(dtype: torch.dtype, backward: bool) -> None:
    """Have the kernels compiled for volumes of a type."""
    x = torch.ones(1, WIDTH, 1, 1, 1, dtype=dtype, requires_grad=backward)
    vector = torch.ones(1, WIDTH)
    y = _Compiled.apply(x, vector, vector, None)
    if backward:
        torch.autograd.grad(y.sum(), x)


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
        from diffcl.networks.kernels import norm as kernel

        x = x.contiguous(memory_format=torch.channels_last_3d)
        values, like = rows(x), torch.empty_like(x)
        shape = _Shape(x)
        sums = shape.reduce(lambda *task: kernel.moments(values, *task))
        count, start = shape.rows, x[:, :, 0, 0, 0].double()
        mean = start + sums[:, 0] / count
        variance = (sums[:, 1] / count - (sums[:, 0] / count) ** 2).clamp(min=0)
        spread = (variance + EPSILON).rsqrt()
        added = values if residual is None else rows(residual)
        scaling = flat(mean.float()), flat((gain.double() * spread).float()), flat(bias.float())
        written = rows(like)
        slope = np.float32(SLOPE)
        shape.each(
            lambda *task: kernel.activate(
                values, *scaling, added, residual is not None, slope, *task, written
            )
        )
        ctx.save_for_backward(x, like, gain, mean, spread)
        ctx.residual = residual is not None
        return like

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arriving: Tensor) -> tuple[Tensor | None, ...]:
        from diffcl.networks.kernels import norm as kernel

        x, y, gain, mean, spread = ctx.saved_tensors
        shape, slope = _Shape(x), np.float32(SLOPE)
        given = rows(x), rows(y), rows(arriving.to(x.dtype))
        middle = flat(mean.float())
        sums = shape.reduce(lambda *task: kernel.gradient_moments(*given, middle, slope, *task))
        of_bias, of_gain = sums[:, 0], sums[:, 1] * spread
        to_g = gain.double() * spread
        to_x = -to_g * spread * of_gain / shape.rows
        offset = -to_g * of_bias / shape.rows
        weights = middle, flat(to_g.float()), flat(to_x.float()), flat(offset.float())
        dx = torch.empty_like(x)
        dg = torch.empty_like(x) if ctx.residual else dx
        to = rows(dx), ctx.residual, rows(dg)
        shape.each(lambda *task: kernel.gradient(*given, *weights, slope, *task, *to))
        return dx, of_gain.to(gain.dtype), of_bias.to(gain.dtype), dg if ctx.residual else None


class _Shape:
    """A volume as items of rows, cut into tasks for threads."""

    def __init__(self, x: Tensor) -> None:
        self.items, self.channels = x.shape[:2]
        self.rows = x[0, 0].numel()
        self._parts = parts(self.rows, self.channels)

    def each(self, work: Any) -> None:
        """Call `work(rows, channels, item, first, last)` for every task."""
        for_each(
            work,
            [(self.rows, self.channels, item, *part) for part in self._parts for item in range(self.items)],
        )

    def reduce(self, work: Any) -> Tensor:
        """Sum what `work(rows, channels, item, first, last, sums)` finds: `(B, 2, C)`, float64."""
        sums = torch.empty(self.items, len(self._parts), 2 * self.channels)
        place = {first: index for index, (first, _) in enumerate(self._parts)}
        self.each(lambda *task: work(*task, sums[task[2], place[task[3]]].numpy()))
        return sums.double().sum(dim=1).view(self.items, 2, self.channels)
