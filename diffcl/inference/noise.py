"""The noise from which DS starts, over a whole scan: drawn where windows ask for it, and always the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from operator import index
from typing import Any, Final

import torch
from torch import Tensor

from diffcl.errors import UsageError, short
from diffcl.geometry import Box, moved_by

PART = 1 << 22
"""Values that are drawn at once, a multiple of 16, so that they are those of one draw."""

SEEDS: Final = 1 << 63
"""Seeds are whole numbers from 0 to below this."""


def seed_choice(given: Any) -> int | None:
    """The seed that somebody gave; None for that of the recipe.

    Raises:
        UsageError: If it is no whole number of 0..2^63 - 1.
    """
    if given is None:
        return None
    try:
        seed = index(given)
    except TypeError:
        seed = -1
    if not 0 <= seed < SEEDS:
        raise UsageError("seed", f"{short(given)} is none", "Give a whole number from 0 to 2^63 - 1, or none")
    return seed


class Noise:
    """Standard normal noise `(C, X, Y, Z)`, the same for the same size and seed, rounded to float16.

    It is what `torch.randn` draws at once. That of a large scan takes much memory, so only some planes of it are held,
    and the state of the random numbers before each part, from which any part can be drawn again.

    Args:
        size: C, X, Y and Z.
        seed: Of the random numbers.
        planes: Along X that one question needs at most.
        part: Of the scan, in which all questions lie; all of it by default.
    """

    def __init__(self, size: Sequence[int], seed: int, planes: int, part: Box | None = None) -> None:
        self._size = tuple(size)
        _, x, y, z = self._size
        part = part or (slice(0, x), slice(0, y), slice(0, z))
        _, self._rows, self._columns = part
        self._random = torch.Generator().manual_seed(seed)
        total = math.prod(size)
        # The last part has 16 values or more, for torch draws fewer in another way.
        self._parts = list(pairwise([0, *range(PART, total - 16, PART), total]))
        self._states = [self._random.get_state()]
        self._drawn: tuple[int, Tensor] | None = None
        self._planes = min(planes, self._size[1])
        self._held: Tensor | None = None
        self._first = 0

    def crop(self, where: Box) -> Tensor:
        """What it is in a window: `(C, x, y, z)`, float32. Windows that follow each other along X are the fastest."""
        x = where[0]
        held = self._around(x)
        _, y, z = moved_by(where, (x, self._rows, self._columns))
        return held[:, x.start - self._first : x.stop - self._first, y, z].float()

    def _around(self, x: slice) -> Tensor:
        """The planes that hold a range along X."""
        first, planes = min(x.start, self._size[1] - self._planes), self._planes
        held, known = self._held, self._first
        if held is not None and known <= x.start and x.stop <= known + planes:
            return held
        channels, _, *plane = self._size
        step = min(planes, max(1, PART // math.prod(plane)))
        whole = torch.empty(step, *plane, dtype=torch.float16)
        kept = whole[:, self._rows, self._columns]
        moved = torch.empty(channels, planes, *kept.shape[1:], dtype=torch.float16)
        begin = first
        if held is not None and known <= first < known + planes:
            begin = known + planes
            moved[:, : begin - first] = held[:, first - known :]
        self._held = held = None  # before more is drawn
        for channel, into in enumerate(moved):
            for number in range(begin, first + planes, step):
                count = min(step, first + planes - number)
                self._draw(whole[:count].view(-1), (channel * self._size[1] + number) * math.prod(plane))
                into[number - first :][:count] = kept[:count]
        self._held, self._first = moved, first
        return moved

    def _draw(self, into: Tensor, start: int) -> None:
        """The values from a place of one long draw on."""
        end = start + len(into)
        for number in range(min(start // PART, len(self._parts) - 1), len(self._parts)):
            first, last = self._parts[number]
            if first >= end:
                break
            begin, stop = max(first, start), min(last, end)
            into[begin - start : stop - start] = self._part(number)[begin - first : stop - first]

    def _part(self, number: int) -> Tensor:
        """All values of a part, float32."""
        if self._drawn is None or self._drawn[0] != number:
            for one in range(min(number, len(self._states) - 1), number + 1):
                first, last = self._parts[one]
                self._random.set_state(self._states[one])
                self._drawn = one, torch.randn(last - first, generator=self._random)
                if one + 1 == len(self._states):
                    self._states.append(self._random.get_state())
        assert self._drawn is not None
        return self._drawn[1]
