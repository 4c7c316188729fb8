# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Compiled parts of the Haar transform without its low band, on rows of channels.

Each part works on the blocks `first..last` of one item; a block is 2x2x2 voxels, numbered as the voxels of the
half-size grid are. Arrays are one-dimensional: volumes `(B, X, Y, Z, C)` and bands `(B, blocks, 7, C)` of float32, or
of uint16 that holds the bits of bfloat16. C is a multiple of sixteen. Where an axis is odd, its last blocks have one
voxel along it.
"""

from __future__ import annotations

import numpy as np

from diffcl.networks.kernels import WIDTH
from diffcl.networks.kernels.simd import compiled, load, splat, store

_ONE, _ZERO = np.float32(1), np.float32(0)
_SCALE = np.float32(0.5**1.5)


@compiled
def analyse(x, size_x, size_y, size_z, channels, extended, item, first, last, bands):
    """The seven high bands of blocks; what an odd axis lacks is its last voxel if `extended`, or zero."""
    scale, one, zero = splat(_SCALE), splat(_ONE), splat(_ZERO)
    for block in range(first, last):
        start, to, more_x, more_y, more_z = _block(block, size_x, size_y, size_z, channels, item)
        x1 = size_y * size_z * channels if more_x else 0
        y1 = size_z * channels if more_y else 0
        z1 = channels if more_z else 0
        in_x = one if more_x or extended else zero
        in_y = one if more_y or extended else zero
        in_z = one if more_z or extended else zero
        for c in range(0, channels, WIDTH):
            at = start + c
            a, b = load(x, at), load(x, at + z1) * in_z
            low_00, high_00 = a + b, a - b
            a, b = load(x, at + y1), load(x, at + y1 + z1) * in_z
            low_01, high_01 = (a + b) * in_y, (a - b) * in_y
            a, b = load(x, at + x1), load(x, at + x1 + z1) * in_z
            low_10, high_10 = (a + b) * in_x, (a - b) * in_x
            a, b = load(x, at + x1 + y1), load(x, at + x1 + y1 + z1) * in_z
            low_11, high_11 = (a + b) * in_y * in_x, (a - b) * in_y * in_x
            into = to + c
            store(bands, into, ((high_00 + high_01) + (high_10 + high_11)) * scale)
            store(bands, into + channels, ((low_00 - low_01) + (low_10 - low_11)) * scale)
            store(bands, into + 2 * channels, ((high_00 - high_01) + (high_10 - high_11)) * scale)
            store(bands, into + 3 * channels, ((low_00 + low_01) - (low_10 + low_11)) * scale)
            store(bands, into + 4 * channels, ((high_00 + high_01) - (high_10 + high_11)) * scale)
            store(bands, into + 5 * channels, ((low_00 - low_01) - (low_10 - low_11)) * scale)
            store(bands, into + 6 * channels, ((high_00 - high_01) - (high_10 - high_11)) * scale)


@compiled
def synthesise(
    bands, weights, weighted, base, based, size_x, size_y, size_z, channels, folded, item, first, last, x
):
    """`x = base + inverse(bands weights)`, the low band being zero; weights and base only if there are any.

    What an odd axis lacks is added to its last voxel if `folded`, or dropped.
    """
    for block in range(first, last):
        start, source, more_x, more_y, more_z = _block(block, size_x, size_y, size_z, channels, item)
        for c in range(0, channels, WIDTH):
            one = source + c
            z = _band(bands, weights, weighted, one)
            y = _band(bands, weights, weighted, one + channels)
            yz = _band(bands, weights, weighted, one + 2 * channels)
            nothing_0, nothing_1 = _sides(
                splat(_ZERO), _band(bands, weights, weighted, one + 3 * channels), folded, more_x
            )
            z_0, z_1 = _sides(z, _band(bands, weights, weighted, one + 4 * channels), folded, more_x)
            y_0, y_1 = _sides(y, _band(bands, weights, weighted, one + 5 * channels), folded, more_x)
            yz_0, yz_1 = _sides(yz, _band(bands, weights, weighted, one + 6 * channels), folded, more_x)
            for side in range(2 if more_x else 1):
                if side == 1:
                    nothing_0, z_0, y_0, yz_0 = nothing_1, z_1, y_1, yz_1
                low_0, low_1 = _sides(nothing_0, y_0, folded, more_y)
                high_0, high_1 = _sides(z_0, yz_0, folded, more_y)
                at = start + side * size_y * size_z * channels + c
                _put(x, at, channels, low_0, high_0, folded, more_z, base, based)
                if more_y:
                    _put(x, at + size_z * channels, channels, low_1, high_1, folded, more_z, base, based)


@compiled
def _block(block, size_x, size_y, size_z, channels, item):
    """Where the first voxel of a block and its bands begin, and along which axes it has a second voxel."""
    half_y, half_z = (size_y + 1) // 2, (size_z + 1) // 2
    blocks = (size_x + 1) // 2 * half_y * half_z
    i, j, k = 2 * (block // (half_y * half_z)), 2 * (block // half_z % half_y), 2 * (block % half_z)
    start = (((item * size_x + i) * size_y + j) * size_z + k) * channels
    bands = (item * blocks + block) * 7 * channels
    return start, bands, i + 1 < size_x, j + 1 < size_y, k + 1 < size_z


@compiled
def _band(bands, weights, weighted, at):
    """One band of a block, weighted."""
    value = load(bands, at) * splat(_SCALE)
    return value * load(weights, at) if weighted else value


@compiled
def _sides(low, high, folded, more):
    """Both sides of a block along an axis; the first is their sum where there is no second one and it is folded."""
    one, other = low + high, low - high
    return (one + other if folded and not more else one), other


@compiled
def _put(x, at, step, low, high, folded, more, base, based):
    """Two voxels along Z, or one, over the base if there is one."""
    one, other = _sides(low, high, folded, more)
    store(x, at, one + load(base, at) if based else one)
    if more:
        store(x, at + step, other + load(base, at + step) if based else other)
