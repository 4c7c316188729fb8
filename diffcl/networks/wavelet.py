"""One level of the orthonormal Haar wavelet transform of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

BANDS = 7
"""High bands of one level: every combination of low and high along three axes, but for low, low, low."""


def haar_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split a volume into its mean and its detail, each at half size.

    Odd sizes are extended by their last voxel, so that the detail across the border is zero.

    Args:
        x: `(B, C, X, Y, Z)`, any sizes of 1 or more.

    Returns:
        The low band `(B, C, x, y, z)` and the seven high bands `(B, 7, C, x, y, z)`, each axis half as long,
        rounded up. Band `4 i + 2 j + k - 1` is high along X if i, along Y if j, along Z if k.
    """
    odd = [size % 2 for size in x.shape[:1:-1]]
    if any(odd):
        x = functional.pad(x, [side for size in odd for side in (0, size)], mode="replicate")
    bands = [x]
    for axis in (2, 3, 4):
        bands = [half for band in bands for half in _split(band, axis)]
    return bands[0], torch.stack(bands[1:], dim=1)


def haar_inverse(low: Tensor, high: Tensor, size: Sequence[int]) -> Tensor:
    """Put a volume together again; the inverse of `haar_forward`, to rounding.

    Args:
        low: `(B, C, x, y, z)`.
        high: `(B, 7, C, x, y, z)`.
        size: Spatial size of the volume, which cuts the extension of odd sizes off.

    Returns:
        `(B, C, *size)`.
    """
    bands = [low, *high.unbind(dim=1)]
    for axis in (4, 3, 2):
        bands = [_join(even, odd, axis) for even, odd in zip(bands[::2], bands[1::2], strict=True)]
    return bands[0][:, :, : size[0], : size[1], : size[2]]


def _split(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return (even + odd) * 0.5**0.5, (even - odd) * 0.5**0.5


def _join(low: Tensor, high: Tensor, axis: int) -> Tensor:
    return torch.stack(((low + high) * 0.5**0.5, (low - high) * 0.5**0.5), axis + 1).flatten(axis, axis + 1)
