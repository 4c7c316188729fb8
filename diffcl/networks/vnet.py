"""A V-Net: residual stages of convolutions on ever coarser grids, and back, with skip connections."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from diffcl.networks.convolution import Convolution
from diffcl.networks.norm import NormActivation
from diffcl.recipe import VNetShape
from diffcl.recipe.section import Kernel


class Convolutions(nn.Module):
    """A residual stage: convolutions with instance normalisation; the input is added before the end.

    Args:
        channels: In and out.
        count: Convolutions.
        kernel: Of each.
        time_features: Width of a time embedding that scales and shifts the normalised features; 0 for none.
    """

    def __init__(self, channels: int, count: int, kernel: Kernel, time_features: int = 0) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            Convolution(channels, channels, kernel_size=kernel, padding=_same(kernel), bias=False)
            for _ in range(count)
        )
        self.norms = nn.ModuleList(NormActivation(channels) for _ in range(count))
        self.time = nn.Linear(time_features, 2 * channels) if time_features else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """`(B, C, X, Y, Z)` to the same shape; `time` is `(B, time_features)`."""
        inner = x
        last = len(self.convolutions) - 1
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            told = self.time(time) if index == 0 and self.time is not None and time is not None else None
            inner = norm(convolution(inner), told, x if index == last else None)
        return inner


def _same(kernel: Kernel) -> tuple[int, int, int]:
    """The padding that keeps the size of a volume."""
    x, y, z = (size // 2 for size in kernel)
    return x, y, z


class Resize(nn.Sequential):
    """A strided or transposed convolution with normalisation: half or double the grid along some axes."""

    def __init__(self, convolution: nn.Module, channels: int) -> None:
        super().__init__(convolution, NormActivation(channels))


class VNet(nn.Module):
    """Encoder and decoder of a V-Net.

    Args:
        in_channels: Channels of the input.
        shape: Channels, convolutions, strides and kernels of the levels.
        time_features: Width of a time embedding, 0 for none.
        skips: Modules put on skip connections, by level.

    Source:
        Milletari et al. 2016, with instance normalisation in place of batch normalisation and skip
        connections that add, as the semi-supervised literature trains it on the left atrium.
    """

    def __init__(
        self,
        in_channels: int,
        shape: VNetShape,
        *,
        time_features: int = 0,
        skips: dict[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        levels = list(zip(shape.filters, shape.blocks, shape.level_kernels, strict=True))
        steps = list(zip(pairwise(shape.filters), shape.level_strides, strict=True))
        first = levels[0][2]
        self.stem = Convolution(in_channels, shape.filters[0], kernel_size=first, padding=_same(first))
        self.encoder = nn.ModuleList(Convolutions(*level, time_features) for level in levels)
        self.down = nn.ModuleList(
            Resize(Convolution(wide, deep, kernel_size=stride, stride=stride, bias=False), deep)
            for (wide, deep), stride in steps
        )
        self.up = nn.ModuleList(
            Resize(nn.ConvTranspose3d(deep, wide, kernel_size=stride, stride=stride, bias=False), wide)
            for (wide, deep), stride in steps
        )
        self.decoder = nn.ModuleList(Convolutions(*level, time_features) for level in levels[:-1])
        self.skips = nn.ModuleDict({str(level): module for level, module in (skips or {}).items()})
        self.to(memory_format=torch.channels_last_3d)  # in which convolutions on a CPU are the fastest

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """`(B, in_channels, X, Y, Z)` to voxel features `(B, filters[0], X, Y, Z)`."""
        x = self.stem(x)
        passed = []
        for level, down in enumerate(self.down):
            x = self.encoder[level](x, time)
            passed.append(x)
            x = down(x)
        x = self.encoder[len(self.down)](x, time)
        for level in reversed(range(len(self.up))):
            skip = passed[level]
            if str(level) in self.skips:
                skip = self.skips[str(level)](skip)
            x = self.decoder[level](self.up[level](x) + skip, time)
        return x
