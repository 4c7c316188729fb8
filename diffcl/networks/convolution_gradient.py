"""The way back through a convolution of one small volume, in float32 on a CPU.

torch computes it without oneDNN there (see `Convolution`), at a fifth of its speed. Both parts of it are what fast
kernels exist for: the gradient of the volume is a convolution with the kernel turned round, and that of the kernel is,
for each of its voxels, one matrix product of the gradients of the result with the volume moved by as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TORCH_IS_FAST_ABOVE = 20_480
"""Channels times voxels along X and Y of one volume, from which torch takes oneDNN."""

FEWEST_CHANNELS = 16
"""Below which products of matrices are as narrow as torch's way is slow."""

Sides = tuple[int, int, int]


def is_small(x: Tensor) -> bool:
    """Whether torch would leave oneDNN aside for `(B, C, X, Y, Z)`, and loses by it."""
    volumes, channels, *plane = x.shape[:4]
    return volumes == 1 and channels >= FEWEST_CHANNELS and channels * math.prod(plane) <= TORCH_IS_FAST_ABOVE


class SmallConvolution(torch.autograd.Function):
    """`conv3d` of one volume that keeps its size: odd kernels, half of them as padding, no strides, one group.

    `SmallConvolution.apply(x, weight, bias)` takes `(1, I, X, Y, Z)`, `(O, I, k, l, m)` and `(O,)` or None, and gives
    `(1, O, X, Y, Z)`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution."""
        ctx.save_for_backward(x, weight)
        return _convolved(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of the volume, of the kernel and of the bias."""
        x, weight = ctx.saved_tensors
        of_volume, of_kernel, of_bias = ctx.needs_input_grad
        return (
            _convolved(gradient, weight.transpose(0, 1).flip(2, 3, 4)) if of_volume else None,
            kernel_gradient(x, gradient, weight.shape[2:]) if of_kernel else None,
            gradient.sum((0, 2, 3, 4)) if of_bias else None,
        )


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    padding = [side // 2 for side in weight.shape[2:]]
    return torch.mkldnn_convolution(x, weight, bias, padding, (1, 1, 1), (1, 1, 1), 1)


def kernel_gradient(x: Tensor, gradient: Tensor, kernel: torch.Size | Sides) -> Tensor:
    """Gradient of the kernel `(O, I, k, l, m)`.

    Args:
        x: `(1, I, X, Y, Z)`.
        gradient: Of the result `(1, O, X, Y, Z)`.
        kernel: Its odd sides.
    """
    size = x.shape[2:]
    # With a few empty voxels after each line and each slice, a voxel's neighbour is as far away in memory at every
    # voxel, and beyond a border there are zeros. So the volume as it is, moved, is a matrix.
    steps = _steps([side + far // 2 for side, far in zip(size[1:], kernel[1:], strict=True)])
    rows = size[0] * steps[0]
    around = sum(step * (side // 2) for step, side in zip(steps, kernel, strict=True))
    volume = x.new_zeros(around + rows + around, x.shape[1])
    result = gradient.new_zeros(rows, gradient.shape[1])
    for flat, values in ((volume[around : around + rows], x), (result, gradient)):
        padded = flat.view(size[0], -1, steps[1], flat.shape[1])
        padded[:, : size[1], : size[2]] = values[0].permute(1, 2, 3, 0)
    found = x.new_empty(math.prod(kernel), gradient.shape[1], x.shape[1])
    for out, move in zip(found, _moves(kernel, steps), strict=True):
        torch.mm(result.t(), volume[around + move : around + move + rows], out=out)
    return found.view(*kernel, *found.shape[1:]).permute(3, 4, 0, 1, 2)


def _steps(sides: list[int]) -> Sides:
    """How far apart neighbours along X, Y and Z lie in a volume whose lines and slices have these sides."""
    return sides[0] * sides[1], sides[1], 1


def _moves(kernel: torch.Size | Sides, steps: Sides) -> Iterator[int]:
    """How far each voxel of a kernel lies from its centre."""
    for place in product(*map(range, kernel)):
        yield sum((one - side // 2) * step for one, side, step in zip(place, kernel, steps, strict=True))
