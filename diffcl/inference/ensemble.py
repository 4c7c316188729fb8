"""Class probabilities of CS, DS and their weighted mean, and how far both agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from diffcl.errors import UsageError, short

Networks = Literal["ensemble", "cs", "ds"]

SLAB = 32
"""Voxels along X that are looked at together where a whole scan would take much memory."""


def networks_choice(given: object) -> Networks:
    """The networks of that name.

    Raises:
        UsageError: If there are none.
    """
    known = get_args(Networks)
    if given not in known:
        raise UsageError(
            f"networks {short(given, 80)}", "there are none of that name", f"Known: {', '.join(known)}"
        )
    return cast(Networks, given)


@dataclass(frozen=True)
class NetworkProbabilities:
    """What the networks say of a scan; None for one that was not asked.

    Attributes:
        cs: Probabilities of CS `(K, X, Y, Z)`.
        ds: Probabilities of DS, the mean over its DDIM steps.
        mean: The weighted mean of both, or the only one.
    """

    cs: Tensor | None
    ds: Tensor | None
    mean: Tensor

    def copied(self) -> NetworkProbabilities:
        """The same in memory of its own."""
        cs, ds = (None if one is None else one.clone() for one in (self.cs, self.ds))
        return NetworkProbabilities(cs, ds, self.mean.clone())

    @property
    def disagreement(self) -> float | None:
        """See `Disagreement`; None where only one was asked."""
        counted = Disagreement()
        counted.add(self)
        return counted.value


class Disagreement:
    """1 - Dice between the outlines of CS and DS over all classes, of a scan that comes slab by slab."""

    def __init__(self) -> None:
        self._total = self._both = 0
        self._asked = True

    def add(self, slab: NetworkProbabilities) -> None:
        """Count a slab."""
        if slab.cs is None or slab.ds is None:
            self._asked = False
            return
        for pair in zip(slab.cs.split(SLAB, dim=1), slab.ds.split(SLAB, dim=1), strict=True):
            one, other = map(most_probable, pair)
            self._total += int(one.count_nonzero() + other.count_nonzero())
            self._both += int(((one == other) & (one > 0)).count_nonzero())

    @property
    def value(self) -> float | None:
        """0..1; 1 where neither network found anything, None where only one was asked."""
        if not self._asked:
            return None
        return 1.0 - 2 * self._both / self._total if self._total else 1.0


def most_probable(probabilities: Tensor) -> Tensor:
    """The most probable class of each voxel `(K, X, Y, Z)` to `(X, Y, Z)`, uint8; of equal ones the first.

    Class by class, because argmax is slow on a CPU, and its indices take eight bytes each.
    """
    best, found = probabilities[0], torch.zeros_like(probabilities[0], dtype=torch.uint8)
    for value, one in enumerate(probabilities[1:], start=1):
        found.masked_fill_(one > best, value)
        best = torch.maximum(best, one)
    return found
