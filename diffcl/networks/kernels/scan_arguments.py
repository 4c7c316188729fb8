"""What the compiled selective scan is given; none of it needs the compiler."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

CHUNK = 64
"""Tokens of a chunk."""

Array = np.ndarray[Any, Any]


class Volume(NamedTuple):
    """A `(B, channels, L)` tensor as the kernels see it, in any layout.

    Attributes:
        floats: Its memory as one contiguous array, if it is float32; or nothing.
        halves: The same if it is bfloat16, whose bits these uint16 are; or nothing.
        start: Index of the first token that is read: the last one in memory when reading backwards.
        item: Distance between items.
        channel: Distance between channels.
        token: Distance between tokens in reading order: negative when reading backwards.
    """

    floats: Array
    halves: Array
    start: int
    item: int
    channel: int
    token: int


class Inputs(NamedTuple):
    """What is scanned; the names are those of `selective_scan`.

    Attributes:
        length: Tokens.
        gated: Whether z counts.
    """

    length: int
    u: Volume
    delta: Volume
    A: Array
    B: Volume
    C: Volume
    D: Array
    z: Volume
    delta_bias: Array
    delta_softplus: bool
    gated: bool


class Gradients(NamedTuple):
    """What the backward pass writes.

    Attributes:
        u, delta, z: Volumes; z only if it is gated.
        A: `(B, D, N)`, float64, added to.
        B, C: `(blocks, B, L, N rounded up to sixteens)`: the share of each block, in reading order.
        D, delta_bias: `(B, D)`, float64, added to.
    """

    u: Volume
    delta: Volume
    A: Array
    B: Array
    C: Array
    D: Array
    z: Volume
    delta_bias: Array
