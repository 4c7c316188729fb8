"""A first look at a large scan: where it can hold anything, so that only that is read closely.

One network alone looks in as few windows as cover the scan: DS where it works on coarser voxels and counts in the
answer, for it then takes about a third of the time, and else CS. What the networks are then asked of is every window
of the closer reading that touches a place where it takes another class than the background for possible, or a place
beside one. Nearly all of a large scan holds nothing, and a closer reading sees each voxel up to eight times with both
networks. The look is given up where it finds something possible nearly everywhere, as networks that have learned from
crops around an organ do in a whole head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from diffcl.geometry import Box
from diffcl.inference.ensemble import Networks
from diffcl.inference.sliding import crop_of, shows_nothing
from diffcl.recipe import Recipe

FEWER = 1.5
"""A first look is taken where the closer reading has at least so many times its windows; else it would save little."""

ENOUGH = 12
"""Windows after which a first look is given up as soon as too many of those seen hold anything possible."""

EVERYWHERE = 0.75
"""Share of the windows that hold anything possible above which a look would cost about what it saves."""

COUNTS = 0.25
"""Weight of DS in the ensemble from which on its look is worth that of CS."""

POSSIBLE = 0.01
"""Probability of all classes but the background from which on they are possible."""

BLOCK = 8
"""Voxels along each axis of a cube that is read closely, or not, as a whole."""

GOLDEN = (math.sqrt(5) - 1) / 2
"""Steps of this part of a row come by its parts most evenly."""

MARGIN = 8
"""Part of a window by which neighbours overlap at least: a network is less sure at a border, where it sees less."""


def ds_looks(recipe: Recipe, networks: Networks) -> bool:
    """Whether DS looks first, and not CS."""
    cheap = max(recipe.ds.coarse) > 1 and recipe.diffusion.sampling_steps == 1
    return networks == "ds" or (networks == "ensemble" and cheap and recipe.inference.ds_weight >= COUNTS)


def first_windows(whole: Tensor, window: Sequence[int], closer: int) -> list[Box]:
    """The windows of a first look, but those that show nothing; none of them where a look would save little.

    Args:
        whole: The scan `(C, X, Y, Z)`, nowhere smaller than a window.
        window: Voxels of a window along each axis.
        closer: How many windows the closer reading would have.
    """
    windows = sparse_layout(whole.shape[1:], window)
    few = [where for where in windows if not shows_nothing(crop_of(whole, where))]
    return few if len(few) * FEWER <= closer else []


def sparse_layout(size: Sequence[int], window: Sequence[int]) -> list[Box]:
    """The fewest windows that cover a scan and overlap a little, evenly spread.

    Args:
        size: Voxels of the scan along each axis, nowhere fewer than the window's.
        window: Those of a window.

    >>> [where[0].start for where in sparse_layout((20, 8, 8), (8, 8, 8))]
    [0, 6, 12]
    """
    x, y, z = (
        [slice(start, start + w) for start in _spread(s, w)] for s, w in zip(size, window, strict=True)
    )
    return list(product(x, y, z))


def _spread(size: int, window: int) -> list[int]:
    """Where windows begin along an axis."""
    gaps = math.ceil((size - window) / (window - window // MARGIN))
    return [round(number * (size - window) / gaps) for number in range(gaps + 1)] if gaps else [0]


def possible_places(
    size: Sequence[int], windows: Sequence[Box], ask: Callable[[Box], Tensor], device: torch.device
) -> Tensor:
    """Which blocks of a scan can hold another class than the background, or lie beside one that can; bool.

    All of them where the look is given up.

    Args:
        size: Voxels of the scan along each axis.
        windows: Where it is looked at; what none of them covers holds nothing.
        ask: Probabilities of a window `(1, K, *window)`, the first of the background.
        device: Where the answers are.
    """
    found = torch.zeros([math.ceil(s / BLOCK) for s in size], dtype=torch.bool, device=device)
    holding = 0
    for done, where in enumerate(spread(windows), start=1):
        possible = (ask(where)[0, 0] < 1 - POSSIBLE).nonzero()
        start = torch.tensor([side.start for side in where], device=device)
        found[tuple(((possible + start) // BLOCK).unbind(dim=1))] = True
        holding += bool(len(possible))
        if done >= ENOUGH and holding > EVERYWHERE * done:
            return torch.ones_like(found)
    return functional.max_pool3d(found[None].float(), 3, stride=1, padding=1)[0] > 0


def spread(windows: Sequence[Box]) -> list[Box]:
    """The same windows in an order whose beginning comes from everywhere.

    >>> spread(range(7))
    [0, 4, 1, 5, 2, 6, 3]
    """
    count = len(windows)
    step = next(step for step in range(round(count * GOLDEN), count + 2) if math.gcd(step, count) == 1)
    return [windows[number * step % count] for number in range(count)]


def touches(places: Tensor, where: Box) -> bool:
    """Whether a window holds a part of any place."""
    blocks = tuple(slice(side.start // BLOCK, math.ceil(side.stop / BLOCK)) for side in where)
    return bool(places[blocks].any())
