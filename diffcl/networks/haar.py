"""One level of the orthonormal Haar wavelet transform of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

EVERY = (2, 2, 2)
"""Strides of a transform along all three axes."""


def high_band_count(strides: Sequence[int] = EVERY) -> int:
    """High bands of one level: every combination of low and high along the halved axes, but for low everywhere.

    >>> high_band_count(), high_band_count((2, 2, 1))
    (7, 3)
    """
    return math.prod(strides) - 1


def haar_forward(x: Tensor, strides: Sequence[int] = EVERY) -> tuple[Tensor, Tensor]:
    """Split a volume into its mean and its detail, each at half size.

    Along an axis with stride 1 nothing is done. Odd sizes are extended by their last voxel, so that the detail across
    the border is zero.

    Args:
        x: `(B, C, X, Y, Z)`, any sizes of 1 or more.
        strides: 2 along each axis that is halved, else 1.

    Returns:
        The low band `(B, C, x, y, z)` and the high bands `(B, N, C, x, y, z)`, each halved axis half as long, rounded
        up. Where all three are halved N is seven, and band `4 i + 2 j + k - 1` is high along X if i, along Y if j,
        along Z if k; otherwise the bands that are high along an axis left alone are missing, in the same order.
    """
    odd = [size % step for size, step in zip(x.shape[:1:-1], reversed(strides), strict=True)]
    if any(odd):
        x = functional.pad(x, [side for size in odd for side in (0, size)], mode="replicate").to(x.dtype)
    items, channels, *size = x.shape
    a, b, c = strides
    half = [length // step for length, step in zip(size, strides, strict=True)]
    pairs = x.reshape(items, channels, half[0], a, half[1], b, half[2], c)
    corners = pairs.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(items, a * b * c, -1)
    bands = _weigh(_haar(x, strides), corners).view(items, a * b * c, channels, *half)
    return bands[:, 0], bands[:, 1:]


def haar_inverse(
    low: Tensor | None, high: Tensor, size: Sequence[int], strides: Sequence[int] = EVERY
) -> Tensor:
    """Put a volume together again; the inverse of `haar_forward`, to rounding.

    Args:
        low: `(B, C, x, y, z)`; None for zeros.
        high: `(B, N, C, x, y, z)`.
        size: Spatial size of the volume, which cuts the extension of odd sizes off.
        strides: Of `haar_forward`.

    Returns:
        `(B, C, *size)`.
    """
    items, count, channels, *half = high.shape
    haar = _haar(high, strides)
    if low is None:
        corners = _weigh(haar[1:].transpose(-2, -1), high.reshape(items, count, -1))
    else:
        bands = torch.cat((low[:, None], high), dim=1)
        corners = _weigh(haar.transpose(-2, -1), bands.flatten(2))
    pairs = corners.view(items, *strides, channels, *half).permute(0, 4, 5, 1, 6, 2, 7, 3)
    whole = pairs.reshape(
        items, channels, *(step * length for step, length in zip(strides, half, strict=True))
    )
    return whole[:, :, : size[0], : size[1], : size[2]]


def _haar(like: Tensor, strides: Sequence[int]) -> Tensor:
    """The transform of the corners of a block, orthonormal: `(8, 8)` for a cube, `(4, 4)` for four in a plane."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=like.dtype, device=like.device) * 0.5**0.5
    alone = torch.ones(1, 1, dtype=like.dtype, device=like.device)
    corners = math.prod(strides)
    along = [pair if step == 2 else alone for step in strides]
    return torch.einsum("ad,be,cf->abcdef", *along).reshape(corners, corners)


def _weigh(weights: Tensor, rows: Tensor) -> Tensor:
    """Weighted sums of rows, in their own precision whatever autocast is set to."""
    with torch.autocast(rows.device.type, enabled=False):
        return torch.matmul(weights, rows)
