"""The high-frequency detail of a feature map as tokens, and the map with its detail re-weighed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffcl.networks.haar import EVERY, haar_forward, haar_inverse, high_band_count
from diffcl.networks.kernels import WIDTH
from diffcl.networks.kernels.memory import flat, parts, rows
from diffcl.networks.kernels.switch import kernels_compute
from diffcl.networks.kernels.threads import for_each
from diffcl.networks.tracing import is_written

BANDS = high_band_count()
"""High bands with which the compiled kernels are called."""


def high_bands(features: Tensor, strides: Sequence[int] = EVERY) -> Tensor:
    """The high Haar bands of a map, one row of bands and channels for each voxel of the half-size grid.

    On a CPU, where all axes are halved, float32 and bfloat16 with a multiple of sixteen channels are computed by
    compiled kernels, here and in `reweighted`; everything else by definition.

    Args:
        features: `(B, C, X, Y, Z)`, any sizes of 1 or more.
        strides: 2 along each axis that is halved, else 1.

    Returns:
        `(B, L, N C)`, see `haar_forward` for the N bands and their order.
    """
    if not _compiled(features, strides):
        return high_bands_by_definition(features, strides)
    bands: Tensor = _Detail.apply(features)
    return bands


def reweighted(features: Tensor, bands: Tensor, weights: Tensor, strides: Sequence[int] = EVERY) -> Tensor:
    """`features + inverse(0, bands weights)`: a map with its detail weighed by one more than the weights.

    Args:
        features: `(B, C, X, Y, Z)`.
        bands: Its `high_bands`.
        weights: Of the shape of the bands.
        strides: Of the bands.
    """
    if not (_compiled(features, strides) and bands.dtype == weights.dtype == features.dtype):
        return reweighted_by_definition(features, bands, weights, strides)
    whole: Tensor = _Reweighed.apply(features, bands, weights)
    return whole


def high_bands_by_definition(features: Tensor, strides: Sequence[int] = EVERY) -> Tensor:
    """`high_bands` in the plain operations of torch."""
    _, high = haar_forward(features, strides)
    return high.flatten(1, 2).flatten(2).transpose(1, 2)


def reweighted_by_definition(
    features: Tensor, bands: Tensor, weights: Tensor, strides: Sequence[int] = EVERY
) -> Tensor:
    """`reweighted` in the plain operations of torch."""
    items, channels, *size = features.shape
    half = [(length + step - 1) // step for length, step in zip(size, strides, strict=True)]
    high = (bands * weights).transpose(1, 2).reshape(items, high_band_count(strides), channels, *half)
    return features + haar_inverse(None, high, size, strides).to(features.dtype)


def _compiled(features: Tensor, strides: Sequence[int]) -> bool:
    if tuple(strides) != EVERY:
        return False
    known = features.device.type == "cpu" and features.dtype in (torch.float32, torch.bfloat16)
    fits = known and features.shape[1] % WIDTH == 0 and not is_written()
    return fits and kernels_compute(_try, features.dtype)


def _try(dtype: torch.dtype, backward: bool) -> None:
    """Have the kernels compiled for maps of a type."""
    features = torch.ones(1, WIDTH, 1, 1, 1, dtype=dtype, requires_grad=backward)
    bands = _Detail.apply(features)
    whole = _Reweighed.apply(features, bands, bands)
    if backward:
        torch.autograd.grad(whole.sum(), features)


class _Detail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.shape = features.shape
        return _analyse(features, extended=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arriving: Tensor) -> Tensor:
        return _synthesise(arriving, ctx.shape, folded=True)


class _Reweighed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, bands: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(bands, weights)
        return _synthesise(bands, features.shape, weights=weights, base=features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arriving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bands, weights = ctx.saved_tensors
        of_product = _analyse(arriving, extended=False)
        return arriving, of_product * weights, of_product * bands


def _analyse(volume: Tensor, *, extended: bool) -> Tensor:
    from diffcl.networks.kernels import high_bands as kernel

    items, channels, *size = volume.shape
    blocks = _blocks(volume.shape)
    bands = volume.new_empty(items, blocks, BANDS * channels)
    given, made = rows(volume), flat(bands)
    _for_each_block(volume.shape, lambda *task: kernel.analyse(given, *size, channels, extended, *task, made))
    return bands


def _synthesise(
    bands: Tensor,
    shape: torch.Size,
    *,
    weights: Tensor | None = None,
    base: Tensor | None = None,
    folded: bool = False,
) -> Tensor:
    from diffcl.networks.kernels import high_bands as kernel

    _, channels, *size = shape
    whole = torch.empty(shape, dtype=bands.dtype, memory_format=torch.channels_last_3d)
    given, made = flat(bands), rows(whole)
    factors = given if weights is None else flat(weights)
    below = made if base is None else rows(base)
    has = weights is not None, base is not None
    _for_each_block(
        shape,
        lambda *task: kernel.synthesise(
            given, factors, has[0], below, has[1], *size, channels, folded, *task, made
        ),
    )
    return whole


def _blocks(shape: torch.Size) -> int:
    x, y, z = ((length + 1) // 2 for length in shape[2:])
    return x * y * z


def _for_each_block(shape: torch.Size, work: Any) -> None:
    """Call `work(item, first, last)` for tasks that share the blocks of all items."""
    shared = parts(_blocks(shape), 8 * shape[1])
    for_each(work, [(item, *part) for item in range(shape[0]) for part in shared])
