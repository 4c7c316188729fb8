"""The compiled selective scan for the CPU: forward and backward over float32 arrays."""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath=True)
def forward(u, delta, a, b, c, y, item, channel, reverse):  # type: ignore[no-untyped-def]
    length = u.shape[2]
    state = np.zeros(a.shape[1], np.float32)
    for index in range(length):
        at = length - 1 - index if reverse else index
        step, value = delta[item, channel, at], u[item, channel, at]
        out = np.float32(0)
        for n in range(state.size):
            state[n] = math.exp(step * a[channel, n]) * state[n] + step * value * b[item, at, n]
            out += state[n] * c[item, at, n]
        y[item, channel, at] = out


@numba.njit(nogil=True, cache=True, fastmath=True)
def backward(u, delta, a, b, c, grad, du, ddelta, da, db, dc, item, reverse):  # type: ignore[no-untyped-def]
    length = u.shape[2]
    size = a.shape[1]
    states = np.zeros((length + 1, size), np.float32)
    for channel in range(u.shape[1]):
        for index in range(length):
            at = length - 1 - index if reverse else index
            step, value = delta[item, channel, at], u[item, channel, at]
            for n in range(size):
                states[index + 1, n] = (
                    math.exp(step * a[channel, n]) * states[index, n] + step * value * b[item, at, n]
                )
        carry = np.zeros(size, np.float32)
        for index in range(length - 1, -1, -1):
            at = length - 1 - index if reverse else index
            step, value = delta[item, channel, at], u[item, channel, at]
            g = grad[item, channel, at]
            into_u, into_step = np.float32(0), np.float32(0)
            for n in range(size):
                dc[item, at, n] += g * states[index + 1, n]
                gradient = carry[n] + g * c[item, at, n]
                decay = math.exp(step * a[channel, n])
                through = gradient * decay * states[index, n]
                da[item, channel, n] += through * step
                into_step += through * a[channel, n] + gradient * value * b[item, at, n]
                into_u += gradient * b[item, at, n]
                db[item, at, n] += gradient * step * value
                carry[n] = gradient * decay
            du[item, channel, at] = into_u * step
            ddelta[item, channel, at] = into_step
