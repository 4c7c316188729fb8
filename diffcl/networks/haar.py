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
        x = functional.pad(x, [side for size in odd for side in (0, size)], mode="replicate").to(x.dtype)
    items, channels, *size = x.shape
    half = [length // 2 for length in size]
    pairs = x.reshape(items, channels, half[0], 2, half[1], 2, half[2], 2)
    corners = pairs.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(items, BANDS + 1, -1)
    bands = _weigh(_haar(x), corners).view(items, BANDS + 1, channels, *half)
    return bands[:, 0], bands[:, 1:]


def haar_inverse(low: Tensor | None, high: Tensor, size: Sequence[int]) -> Tensor:
    """Put a volume together again; the inverse of `haar_forward`, to rounding.

    Args:
        low: `(B, C, x, y, z)`; None for zeros.
        high: `(B, 7, C, x, y, z)`.
        size: Spatial size of the volume, which cuts the extension of odd sizes off.

    Returns:
        `(B, C, *size)`.
    """
    items, _, channels, *half = high.shape
    haar = _haar(high)
    if low is None:
        corners = _weigh(haar[1:].transpose(-2, -1), high.reshape(items, BANDS, -1))
    else:
        bands = torch.cat((low[:, None], high), dim=1)
        corners = _weigh(haar.transpose(-2, -1), bands.flatten(2))
    pairs = corners.view(items, 2, 2, 2, channels, *half).permute(0, 4, 5, 1, 6, 2, 7, 3)
    whole = pairs.reshape(items, channels, *(2 * length for length in half))
    return whole[:, :, : size[0], : size[1], : size[2]]


def _haar(like: Tensor) -> Tensor:
    """The transform of the eight corners of a cube, orthonormal: `(8, 8)`."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=like.dtype, device=like.device) * 0.5**0.5
    return torch.einsum("ad,be,cf->abcdef", pair, pair, pair).reshape(8, 8)


def _weigh(weights: Tensor, rows: Tensor) -> Tensor:
    """Weighted sums of rows, in their own precision whatever autocast is set to."""
    with torch.autocast(rows.device.type, enabled=False):
        return torch.matmul(weights, rows)
