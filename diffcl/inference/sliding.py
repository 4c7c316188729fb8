"""A scan in overlapping windows: where they lie, which of them show anything, and how their answers are joined.

Answers are joined slab by slab across the first axis, so that memory grows with a slab of the scan and not with the
scan times the classes. MONAI's `sliding_window_inference` lays out the same windows with the same weights; it keeps the
whole answer in memory, where that of a CT with 14 classes does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

import torch
from torch import Tensor
from torch.nn import functional

from diffcl.geometry import Box, moved_by, overlap_of
from diffcl.recipe import Recipe

SIGMA_SCALE = 0.125
"""Width of the Gaussian by which a window's middle weighs more than its border, as a share of the window; MONAI's."""

LEAST = 1e-3
"""What a voxel of a window counts at least; MONAI's."""

LONGER = 1.25
"""A window may have so many times the recipe's side, where a scan then takes fewer of them."""

WORTH = 0.9
"""Share of the voxels along an axis, of all windows together, that a longer window must leave at most."""


@dataclass(frozen=True)
class Frame:
    """How a scan is made nowhere smaller than a window.

    Attributes:
        window: Voxels of a window along each axis: the recipe's, no more than the scan needs, or up to a quarter more
            where that saves windows.
        padding: Voxels before and after each axis, the last axis first, as `torch.nn.functional.pad` takes them.
        place: Where the scan lies in the padded one.
    """

    window: tuple[int, ...]
    padding: tuple[int, ...]
    place: Box

    def pad(self, values: Tensor) -> Tensor:
        """Values `(1, C, X, Y, Z)` with those of the border repeated around them, where anything is missing."""
        return functional.pad(values, self.padding, mode="replicate") if any(self.padding) else values


def frame(size: Sequence[int], recipe: Recipe) -> Frame:
    """The frame of a scan of so many voxels along each axis."""
    overlap = recipe.inference.overlap
    window = tuple(
        window_side(s, w, grain, overlap)
        for s, w, grain in zip(size, recipe.grid.window, recipe.grains, strict=True)
    )
    short = [max(0, w - s) for w, s in zip(window, size, strict=True)]
    padding = tuple(side for gap in reversed(short) for side in (gap // 2, gap - gap // 2))
    x, y, z = (slice(gap // 2, gap // 2 + s) for gap, s in zip(short, size, strict=True))
    return Frame(window, padding, (x, y, z))


def window_side(size: int, side: int, grain: int, overlap: float) -> int:
    """Voxels of a window along an axis.

    Args:
        size: Those of the scan.
        side: Those of the recipe's window.
        grain: What a side is divisible by.
        overlap: Share by which neighbours overlap, 0..1.

    >>> window_side(50, 80, 8, 0.25), window_side(84, 80, 8, 0.25)
    (56, 88)
    >>> window_side(155, 80, 8, 0.25), window_side(512, 80, 8, 0.25)  # two of 96 for three of 80
    (96, 80)
    """
    whole = math.ceil(size / grain) * grain
    if whole <= side:
        return whole
    sides = range(side, min(whole, longest_side(side, grain)) + 1, grain)
    read = {one: one * len(_starts(max(size, one), one, overlap)) for one in sides}
    best = min(sides, key=lambda one: (read[one], one))
    return best if read[best] <= WORTH * read[side] else side


def longest_side(side: int, grain: int) -> int:
    """Voxels that a window may have at most along an axis, for a side of the recipe's window."""
    return max(side, int(LONGER * side) // grain * grain)


def layout(size: Sequence[int], window: Sequence[int], overlap: float) -> list[Box]:
    """Where windows lie in a scan, in the order of their first axis.

    Args:
        size: Voxels of the scan along each axis, nowhere fewer than the window's.
        window: Those of a window.
        overlap: Share by which neighbours overlap, 0..1.
    """
    x, y, z = (
        [slice(end - w, end) for end in (min(start + w, s) for start in _starts(s, w, overlap))]
        for w, s in zip(window, size, strict=True)
    )
    return list(product(x, y, z))


def window_count(size: Sequence[int], recipe: Recipe) -> int:
    """How many windows a scan of so many voxels is read in, without a list of them.

    >>> from diffcl.recipe import load_recipe
    >>> window_count((96, 48, 64), load_recipe("hippocampus"))
    6
    """
    window, overlap = frame(size, recipe).window, recipe.inference.overlap
    return math.prod(len(_starts(max(s, w), w, overlap)) for s, w in zip(size, window, strict=True))


def _starts(size: int, window: int, overlap: float) -> range:
    """Where windows begin along an axis, but for the last one, which is moved back to end with the scan."""
    step = max(1, int(window * (1 - overlap)))
    return range(0, size - window + step, step)


def importance(window: Sequence[int], device: torch.device) -> Tensor:
    """How much each voxel of a window counts, `window`, 0.001..1, float32: a Gaussian around its middle."""
    whole = torch.ones((), device=device)
    for size in window:
        offset = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
        along = torch.exp(offset**2 / (-2 * (size * SIGMA_SCALE) ** 2))
        whole = whole[..., None] * along
    return whole.clamp(min=max(float(whole.min()), LEAST))


def joined(
    windows: Sequence[Box],
    asked: Sequence[bool],
    box: Box,
    ask: Callable[[Box], Tensor],
    channels: int,
    classes: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """The answers to all windows, weighted by a Gaussian where they overlap.

    Args:
        windows: In the order of their first axis; together they cover the box.
        asked: Which of them are asked; the others are background.
        box: The part of the scan that is wanted.
        ask: Probabilities of a window `(1, channels, *window)`.
        channels: Those of all networks together.
        classes: Those of one network; the first of them is background.
        device: Where the answers are.

    Yields:
        Slabs `(channels, x, Y, Z)` of the box that follow each other along the first axis, float32. The next one takes
        the memory of the one before.
    """
    window = [side.stop - side.start for side in windows[0]]
    weight = importance(window, device)
    x, y, z = (side.stop - side.start for side in box)
    total = torch.zeros(channels, min(window[0], x), y, z, device=device)
    count = torch.zeros(1, *total.shape[1:], device=device)
    wanted = [(where, one) for where, one in zip(windows, asked, strict=True) if overlap_of(where, box)]
    rows = [(start, list(row)) for start, row in groupby(wanted, key=lambda one: one[0][0].start)]
    ends = [start for start, _ in rows[1:]] + [box[0].stop]
    first = box[0].start
    for (_, row), end in zip(rows, ends, strict=True):
        for where, is_asked in row:
            shared = overlap_of(where, box)
            assert shared is not None
            own = (slice(None), *moved_by(shared, where))
            there = (slice(None), *moved_by(shared, (slice(first, 0), *box[1:])))
            count[there] += weight[own[1:]]
            if is_asked:
                total[there] += ask(where)[0].mul_(weight)[own]
            else:
                total[there][::classes] += weight[own[1:]]
        done = end - first
        if done > 0:
            yield total[:, :done].div_(count[:, :done])
            first = end
            if end < box[0].stop:
                for held in (total, count):
                    _move_up(held, done)


def _move_up(held: Tensor, planes: int) -> None:
    """Drop the first planes of `(C, x, Y, Z)` in place; the others move up, and zeros follow them."""
    rest = held.shape[1] - planes
    for start in range(0, rest, planes):  # no part overlaps the place to which it moves
        part = slice(start + planes, min(start + 2 * planes, held.shape[1]))
        held[:, start : start + part.stop - part.start] = held[:, part]
    held[:, rest:] = 0


def crop_of(values: Tensor, where: Box) -> Tensor:
    """What values `(C, X, Y, Z)` hold in a window."""
    x, y, z = where
    return values[:, x, y, z]


def shows_nothing(crop: Tensor) -> bool:
    """Whether all voxels `(C, X, Y, Z)` of each sequence are alike, as of air or of padding."""
    return all(bool(lowest == highest) for lowest, highest in (one.aminmax() for one in crop))
