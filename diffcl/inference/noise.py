"""The noise from which DS starts, over a whole scan: drawn where windows ask for it, and always the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diffcl.geometry import Box

PART = 1 << 22
"""Values that are drawn at once, a multiple of 16, so that they are those of one draw."""


class Noise:
    """Standard normal noise `(C, X, Y, Z)`, the same for the same size and seed, rounded to float16.

    It is what `torch.randn` draws at once. That of a large scan takes much memory, so only some planes of it are held,
    and the state of the random numbers before each part, from which any part can be drawn again.

    Args:
        size: C, X, Y and Z.
        seed: Of the random numbers.
        planes: Along X that one question needs at most.
    """

    def __init__(self, size: Sequence[int], seed: int, planes: int) -> None:
        self._size = tuple(size)
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
        x, y, z = where
        held = self._around(x)
        return held[:, x.start - self._first : x.stop - self._first, y, z].float()

    def _around(self, x: slice) -> Tensor:
        """The planes that hold a range along X."""
        first, planes = min(x.start, self._size[1] - self._planes), self._planes
        held, known = self._held, self._first
        if held is not None and known <= x.start and x.stop <= known + planes:
            return held
        channels, _, *plane = self._size
        moved = torch.empty(channels, planes, *plane, dtype=torch.float16)
        begin = first
        if held is not None and known <= first < known + planes:
            begin = known + planes
            moved[:, : begin - first] = held[:, first - known :]
        self._held = held = None  # before more is drawn
        for channel, into in enumerate(moved):
            start = channel * self._size[1] + begin
            self._draw(into[begin - first :].view(-1), start * math.prod(plane))
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
