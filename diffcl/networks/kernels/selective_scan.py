# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False
"""The compiled selective scan for the CPU, forward and backward.

Sixteen channels of one item are read together, one in each lane, in chunks of 64 tokens. A chunk of every
volume is brought into a small tile (token after token, sixteen channels each), whatever its layout and type in
memory; the states never leave the first cache. The states between chunks are all that the backward pass
needs: it computes the states of a chunk anew, then reads the chunk backwards.

A state h is carried as a sum h + rest, and a decay e^x is split into a power of two s and a small remainder r,
so that h e^x = s h + r h and a decay of nearly one loses nothing: after 100,000 tokens that hardly decay,
float32 is still right to six digits. The plain recurrence would be right to three.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from diffcl.networks.kernels import WIDTH
from diffcl.networks.kernels.scan_arguments import CHUNK, Array
from diffcl.networks.kernels.simd import (
    compiled,
    load,
    maximum,
    minimum,
    power_of_two,
    read,
    row_sums,
    splat,
    store,
    transpose,
    write,
)


class _Block(NamedTuple):
    """Sixteen channels of one item, and a chunk of them in tiles.

    Attributes:
        item, first, channels: Which item, its first channel, and how many channels there are.
        rates: `A log2(e)`, `(N, 16)`. skip, bias: D and delta_bias, `(16,)`.
        u, delta, z: `(64, 16)`. b, c: `(64, N)`.
    """

    item: int
    first: int
    channels: int
    rates: Array
    skip: Array
    bias: Array
    u: Array
    delta: Array
    z: Array
    b: Array
    c: Array


_f32 = np.float32
_LOG2E = _f32(1.4426950408889634)
_ROUND = _f32(1.5 * 2**23 + 127)  # adding it leaves the nearest integer, plus 127, in the lowest bits
_SMALLEST, _LARGEST = _f32(-127), _f32(128)  # become zero and infinity
# (2^f - 1) / f where |f| <= 1/2, to 1.3e-8: the polynomial through Chebyshev's points
_E0, _E1, _E2 = _f32(6.931471883e-01), _f32(2.402265076e-01), _f32(5.550357114e-02)
_E3, _E4, _E5 = _f32(9.618082557e-03), _f32(1.339086336e-03), _f32(1.545316295e-04)


@numba.njit(forceinline=True)
def _exp2(x):
    """Lanes s and r with `2^x = s + r`, s a power of two: r is `2^x - 1` to full precision where s is 1."""
    x = minimum(maximum(x, splat(_SMALLEST)), splat(_LARGEST))
    biased = x + _ROUND
    f = x - (biased - _ROUND)
    s = power_of_two(biased)
    ratio = ((((splat(_E5) * f + _E4) * f + _E3) * f + _E2) * f + _E1) * f + _E0
    return s, s * (f * ratio)


@numba.njit(forceinline=True)
def _sigmoid(x):
    s, r = _exp2(x * -_LOG2E)
    return splat(_f32(1)) / (s + r + _f32(1))


@numba.njit(forceinline=True)
def _softplus(x):
    """`log(1 + e^x)`, from `log(1 + t) = 2 artanh(t / (2 + t))` with t = exp(-|x|)."""
    zero = splat(_f32(0))
    s, r = _exp2(minimum(x, zero - x) * _LOG2E)
    q = (s + r) / (s + r + _f32(2))
    q2 = q * q
    series = splat(_f32(2 / 13)) * q2 + _f32(2 / 11)
    series = (((series * q2 + _f32(2 / 9)) * q2 + _f32(2 / 7)) * q2 + _f32(2 / 5)) * q2 + _f32(2 / 3)
    return maximum(x, zero) + (series * q2 + _f32(2)) * q


@numba.njit
def _gather(memory, start, token, channel, tokens, channels, tile, width):
    """Bring `tokens` x `channels` numbers into a tile whose rows, one for a token, are `width` long."""
    done = 0
    if channels == WIDTH and width == WIDTH:
        if channel == 1:
            for t in range(tokens):
                store(tile, t * WIDTH, load(memory, start + t * token))
            done = tokens
        elif abs(token) == 1:
            done = tokens - tokens % WIDTH
            for t in range(0, done, WIDTH):
                if token == 1:
                    transpose(memory, start + t, channel, tile, t * WIDTH, WIDTH)
                else:
                    last = t + WIDTH - 1
                    transpose(memory, start - last, channel, tile, last * WIDTH, -WIDTH)
    for t in range(done, tokens):
        for c in range(channels):
            tile[t * width + c] = read(memory, start + t * token + c * channel)


@numba.njit
def _scatter(tile, memory, start, token, channel, tokens, channels):
    """Bring a tile of sixteen channels back to where `_gather` would take it from."""
    done = 0
    if channels == WIDTH:
        if channel == 1:
            for t in range(tokens):
                store(memory, start + t * token, load(tile, t * WIDTH))
            done = tokens
        elif abs(token) == 1:
            done = tokens - tokens % WIDTH
            for t in range(0, done, WIDTH):
                if token == 1:
                    transpose(tile, t * WIDTH, WIDTH, memory, start + t, channel)
                else:
                    last = t + WIDTH - 1
                    transpose(tile, last * WIDTH, -WIDTH, memory, start - last, channel)
    for t in range(done, tokens):
        for c in range(channels):
            write(memory, start + t * token + c * channel, tile[t * WIDTH + c])


@numba.njit
def _fetch(volume, item, channel, token, tokens, channels, tile, width):
    start = volume.start + item * volume.item + channel * volume.channel + token * volume.token
    if volume.halves.size:
        _gather(volume.halves, start, volume.token, volume.channel, tokens, channels, tile, width)
    else:
        _gather(volume.floats, start, volume.token, volume.channel, tokens, channels, tile, width)


@numba.njit
def _put(tile, volume, block, token, tokens):
    start = volume.start + block.item * volume.item + block.first * volume.channel + token * volume.token
    if volume.halves.size:
        _scatter(tile, volume.halves, start, volume.token, volume.channel, tokens, block.channels)
    else:
        _scatter(tile, volume.floats, start, volume.token, volume.channel, tokens, block.channels)


@numba.njit
def _tile(size):
    """Zeros that start at a cache line."""
    memory = np.zeros(size + 16, np.float32)
    first = (-memory.ctypes.data // 4) % 16
    return memory[first : first + size]


@numba.njit
def _block(inputs, item, index):
    """Make the tiles of a block; lanes without a channel stay zero."""
    first = index * WIDTH
    channels = min(WIDTH, inputs.A.shape[0] - first)
    states = inputs.A.shape[1]
    rates, skip, bias = _tile(states * WIDTH), _tile(WIDTH), _tile(WIDTH)
    for c in range(channels):
        skip[c] = inputs.D[first + c]
        bias[c] = inputs.delta_bias[first + c]
        for n in range(states):
            rates[n * WIDTH + c] = inputs.A[first + c, n] * _LOG2E
    u, delta, z = _tile(CHUNK * WIDTH), _tile(CHUNK * WIDTH), _tile(CHUNK * WIDTH)
    return _Block(
        item, first, channels, rates, skip, bias, u, delta, z, _tile(CHUNK * states), _tile(CHUNK * states)
    )


@numba.njit
def _fetch_chunk(inputs, block, token, tokens):
    states = inputs.A.shape[1]
    _fetch(inputs.u, block.item, block.first, token, tokens, block.channels, block.u, WIDTH)
    _fetch(inputs.delta, block.item, block.first, token, tokens, block.channels, block.delta, WIDTH)
    _fetch(inputs.B, block.item, 0, token, tokens, states, block.b, states)
    _fetch(inputs.C, block.item, 0, token, tokens, states, block.c, states)
    if inputs.gated:
        _fetch(inputs.z, block.item, block.first, token, tokens, block.channels, block.z, WIDTH)


@numba.njit(forceinline=True)
def _step_size(inputs, block, t):
    step = load(block.delta, t * WIDTH) + load(block.bias, 0)
    return _softplus(step) if inputs.delta_softplus else step


@compiled
def forward(inputs, item, index, out, borders):
    """Scan sixteen channels of one item.

    Args:
        inputs: What is scanned.
        item: Which item.
        index: Which sixteen channels.
        out: The volume that is written.
        borders: `(B, blocks, chunks, N * 16)`, takes the states before each chunk; or without chunks.
    """
    block = _block(inputs, item, index)
    states = inputs.A.shape[1]
    h, rest = _tile(states * WIDTH), _tile(states * WIDTH)
    for chunk in range((inputs.length + CHUNK - 1) // CHUNK):
        token = chunk * CHUNK
        tokens = min(CHUNK, inputs.length - token)
        if borders.shape[2]:
            borders[item, index, chunk, :] = h
        _fetch_chunk(inputs, block, token, tokens)
        for t in range(tokens):
            u = load(block.u, t * WIDTH)
            step = _step_size(inputs, block, t)
            push = step * u
            y = load(block.skip, 0) * u
            for n in range(states):
                s, r = _exp2(step * load(block.rates, n * WIDTH))
                old = load(h, n * WIDTH)
                kept = s * old
                change = r * old + ((s + r) * load(rest, n * WIDTH) + push * block.b[t * states + n])
                new = kept + change
                store(h, n * WIDTH, new)
                store(rest, n * WIDTH, change - (new - kept))
                y = y + new * block.c[t * states + n]
            if inputs.gated:
                gate = load(block.z, t * WIDTH)
                y = y * (gate * _sigmoid(gate))
            store(block.u, t * WIDTH, y)
        _put(block.u, out, block, token, tokens)


@numba.njit
def _states_of_chunk(inputs, block, tokens, h, powers, remainders, y_tile):
    """Compute the states after each token again, behind those before the chunk, which h `(65, N, 16)` has.

    The decays go to powers and remainders, `(64, N, 16)`, the output before the gate to y_tile, `(64, 16)`.
    """
    states = inputs.A.shape[1]
    row = states * WIDTH
    for t in range(tokens):
        u = load(block.u, t * WIDTH)
        step = _step_size(inputs, block, t)
        push = step * u
        y = load(block.skip, 0) * u
        for n in range(states):
            at = t * row + n * WIDTH
            s, r = _exp2(step * load(block.rates, n * WIDTH))
            old = load(h, at)
            new = s * old + (r * old + push * block.b[t * states + n])
            store(powers, at, s)
            store(remainders, at, r)
            store(h, at + row, new)
            y = y + new * block.c[t * states + n]
        store(y_tile, t * WIDTH, y)


@compiled
def backward(inputs, item, index, borders, grad, to):
    """Gradients of sixteen channels of one item.

    Args:
        inputs: What was scanned.
        item: Which item.
        index: Which sixteen channels.
        borders: The states that `forward` left.
        grad: Volume, the gradient that arrives at the output.
        to: Where the gradients go.
    """
    block = _block(inputs, item, index)
    states = inputs.A.shape[1]
    row = states * WIDTH
    grad_tile, y_tile = _tile(CHUNK * WIDTH), _tile(CHUNK * WIDTH)
    powers, remainders, h = _tile(CHUNK * row), _tile(CHUNK * row), _tile((CHUNK + 1) * row)
    carried, rest = _tile(row), _tile(row)  # what the tokens behind add to the gradient of the states
    to_a, to_skip, to_bias = _tile(row), _tile(WIDTH), _tile(WIDTH)
    to_b, to_c = _tile(to.B.shape[3] * WIDTH), _tile(to.B.shape[3] * WIDTH)
    for chunk in range((inputs.length - 1) // CHUNK, -1, -1):
        token = chunk * CHUNK
        tokens = min(CHUNK, inputs.length - token)
        _fetch_chunk(inputs, block, token, tokens)
        _fetch(grad, item, block.first, token, tokens, block.channels, grad_tile, WIDTH)
        h[:row] = borders[item, index, chunk]
        _states_of_chunk(inputs, block, tokens, h, powers, remainders, y_tile)
        b_rows, c_rows = to.B[index, item, token:].ravel(), to.C[index, item, token:].ravel()
        to_a[:], to_skip[:], to_bias[:] = 0, 0, 0
        for t in range(tokens - 1, -1, -1):
            u, step = load(block.u, t * WIDTH), _step_size(inputs, block, t)
            push = step * u
            arriving = load(grad_tile, t * WIDTH)
            if inputs.gated:
                gate = load(block.z, t * WIDTH)
                share = _sigmoid(gate)
                slope = share * (gate * (splat(_f32(1)) - share) + _f32(1))
                store(block.z, t * WIDTH, arriving * load(y_tile, t * WIDTH) * slope)
                arriving = arriving * (gate * share)
            through_push, through_decay = splat(_f32(0)), splat(_f32(0))
            for n in range(states):
                at = t * row + n * WIDTH
                s, r = load(powers, at), load(remainders, at)
                kept = load(carried, n * WIDTH)
                change = load(rest, n * WIDTH) + arriving * block.c[t * states + n]
                g = kept + change
                lost = change - (g - kept)
                kept = s * g
                change = r * g + (s + r) * lost
                store(carried, n * WIDTH, kept)
                store(rest, n * WIDTH, change)
                decayed = (kept + change) * load(h, at)
                store(to_a, n * WIDTH, load(to_a, n * WIDTH) + decayed * step)
                through_decay = through_decay + decayed * load(block.rates, n * WIDTH)
                through_push = through_push + g * block.b[t * states + n]
                store(to_b, n * WIDTH, g * push)
                store(to_c, n * WIDTH, arriving * load(h, at + row))
            for n in range(0, states, WIDTH):
                store(b_rows, t * to.B.shape[3] + n, row_sums(to_b, n * WIDTH))
                store(c_rows, t * to.C.shape[3] + n, row_sums(to_c, n * WIDTH))
            to_step = through_decay * _f32(1 / _LOG2E) + u * through_push
            if inputs.delta_softplus:
                to_step = to_step * _sigmoid(load(block.delta, t * WIDTH) + load(block.bias, 0))
            store(block.delta, t * WIDTH, to_step)
            store(block.u, t * WIDTH, step * through_push + load(block.skip, 0) * arriving)
            store(to_bias, 0, load(to_bias, 0) + to_step)
            store(to_skip, 0, load(to_skip, 0) + arriving * u)
        _put(block.u, to.u, block, token, tokens)
        _put(block.delta, to.delta, block, token, tokens)
        if inputs.gated:
            _put(block.z, to.z, block, token, tokens)
        for c in range(block.channels):
            to.D[item, block.first + c] += to_skip[c]
            to.delta_bias[item, block.first + c] += to_bias[c]
            for n in range(states):
                to.A[item, block.first + c, n] += to_a[n * WIDTH + c]
