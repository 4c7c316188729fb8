"""A convolution that uses the fast kernels of a CPU for small volumes as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcl.networks.convolution_gradient import SmallConvolution, is_small
from diffcl.networks.tracing import is_written


class Convolution(nn.Conv3d):
    """`torch.nn.Conv3d` with the same parameters and results.

    For one volume, torch takes its oneDNN kernels only where channels times voxels along the first two axes exceed
    20480, and otherwise a kernel that is several times slower; that is the case on the coarse levels of a V-Net, and
    in small windows on all. Here oneDNN computes them all, in float32 on a CPU, and their gradients as well, see
    `diffcl.networks.convolution_gradient`.

    A kernel that reads each slice across Z by itself is one of two dimensions, for which oneDNN is faster. With
    channels innermost in memory, Y and Z are one axis, on which neighbours along Y lie as many voxels apart as Z has.
    In float32 oneDNN has no fast way back through such a kernel: what is trained in float32 stays in three dimensions.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`(B, in_channels, X, Y, Z)` to `(B, out_channels, X', Y', Z')`."""
        if is_written():
            return super().forward(x)
        if self._in_plane(x):
            return self._of_slices(x)
        if not self._fast(x):
            return super().forward(x)
        if torch.is_grad_enabled() and is_small(x) and self._keeps_size:
            return cast(Tensor, SmallConvolution.apply(x, self.weight, self.bias))
        return self._by_onednn(x, self.weight, self.padding, self.dilation)

    def _by_onednn(self, x: Tensor, weight: Tensor, padding: Any, dilation: Sequence[int]) -> Tensor:
        strides = self.stride[: weight.ndim - 2]
        return torch.mkldnn_convolution(x, weight, self.bias, padding, strides, dilation, self.groups)

    @property
    def _plain(self) -> bool:
        return {*self.stride, *self.dilation, self.groups} == {1}

    @property
    def _keeps_size(self) -> bool:
        padding = tuple(side // 2 for side in self.kernel_size)
        return self._plain and all(side % 2 for side in self.kernel_size) and self.padding == padding

    def _fast(self, x: Tensor) -> bool:
        known = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        return known and torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu")

    def _in_plane(self, x: Tensor) -> bool:
        flat = self.kernel_size[2] == 1 and self.padding[2] == 0 and {*self.kernel_size} != {1}
        way_back = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        return (
            flat
            and self._plain
            and not (way_back and self._fast(x))
            and x.device.type == "cpu"
            and x.is_contiguous(memory_format=torch.channels_last_3d)
        )

    def _of_slices(self, x: Tensor) -> Tensor:
        depth = x.shape[4]
        # Moved to the end and back, so that torch still sees channels innermost where there is one volume.
        flat = x.movedim(1, 4).flatten(2, 3).movedim(3, 1)
        weight, dilation = self.weight.squeeze(4), (1, depth)
        padding = int(self.padding[0]), int(self.padding[1]) * depth
        if self._fast(x):
            found = self._by_onednn(flat, weight, padding, dilation)
        else:
            found = functional.conv2d(flat, weight, self.bias, padding=padding, dilation=dilation)
        restored: Tensor = found.movedim(1, 3).unflatten(2, (-1, depth)).movedim(4, 1)
        return restored
