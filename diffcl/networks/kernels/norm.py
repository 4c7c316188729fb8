# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
"""Compiled parts of the normalised activation, on rows of channels: a row is a voxel, its channels side by side.

Each part works on the rows `first..last` of one item. Arrays are one-dimensional: volumes `(B, rows, C)` of
float32, or of uint16 that holds the bits of bfloat16, and `(B, C)` float32 for what each channel of an item has
of its own. C is a multiple of sixteen.
"""

from __future__ import annotations

import numpy as np

from diffcl.networks.kernels import WIDTH
from diffcl.networks.kernels.simd import compiled, load, maximum, splat, store, where_positive

_ZERO = np.float32(0)


@compiled
def moments(x, rows, channels, item, first, last, sums):
    """Sums of x and of its squares over rows, both less the item's first row: into `sums`, `(2, C)`."""
    base = item * rows * channels
    for c in range(0, channels, WIDTH):
        middle = load(x, base + c)
        total = splat(_ZERO)
        squares = splat(_ZERO)
        for row in range(first, last):
            value = load(x, base + row * channels + c) - middle
            total = total + value
            squares = squares + value * value
        store(sums, c, total)
        store(sums, channels + c, squares)


@compiled
def activate(x, mean, factor, offset, residual, added, slope, rows, channels, item, first, last, y):
    """`y = leaky_relu(factor (x - mean) + offset + residual)`; the residual only if it is to be added."""
    base = item * rows * channels
    for c in range(0, channels, WIDTH):
        own = item * channels + c
        middle, f, o = load(mean, own), load(factor, own), load(offset, own)
        for row in range(first, last):
            at = base + row * channels + c
            value = (load(x, at) - middle) * f + o
            if added:
                value = value + load(residual, at)
            store(y, at, maximum(value, value * slope))


@compiled
def gradient_moments(x, y, arriving, mean, slope, rows, channels, item, first, last, sums):
    """Sums of g and of `g (x - mean)` over rows, g being the gradient before the activation: `(2, C)`."""
    base = item * rows * channels
    one = splat(np.float32(1))
    leak = one * slope
    for c in range(0, channels, WIDTH):
        middle = load(mean, item * channels + c)
        total = splat(_ZERO)
        products = splat(_ZERO)
        for row in range(first, last):
            at = base + row * channels + c
            g = load(arriving, at) * where_positive(load(y, at), one, leak)
            total = total + g
            products = products + g * (load(x, at) - middle)
        store(sums, c, total)
        store(sums, channels + c, products)


@compiled
def gradient(
    x, y, arriving, mean, to_g, to_x, offset, slope, rows, channels, item, first, last, dx, g_wanted, dg
):
    """`dx = to_g g + to_x (x - mean) + offset`, and g itself where it is wanted."""
    base = item * rows * channels
    one = splat(np.float32(1))
    leak = one * slope
    for c in range(0, channels, WIDTH):
        own = item * channels + c
        middle, rest = load(mean, own), load(offset, own)
        of_g, of_x = load(to_g, own), load(to_x, own)
        for row in range(first, last):
            at = base + row * channels + c
            g = load(arriving, at) * where_positive(load(y, at), one, leak)
            store(dx, at, of_g * g + of_x * (load(x, at) - middle) + rest)
            if g_wanted:
                store(dg, at, g)
