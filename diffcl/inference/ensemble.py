"""Class probabilities of CS, DS and their weighted mean, over a whole prepared scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffcl.diffusion import LabelDiffusion
from diffcl.geometry import Box
from diffcl.inference.first_look import first_windows, possible_places, touches
from diffcl.inference.noise import Noise
from diffcl.inference.sliding import crop_of, frame, joined, layout, shows_nothing
from diffcl.recipe import Recipe

Networks = Literal["ensemble", "cs", "ds"]

SLAB = 32
"""Voxels along X that are looked at together where a whole scan would take much memory."""


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


def predict_probabilities(
    image: Tensor,
    recipe: Recipe,
    cs: Callable[[Tensor], Tensor],
    ds: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
    *,
    networks: Networks = "ensemble",
    seed: int | None = None,
) -> NetworkProbabilities:
    """What `probability_slabs` says of a whole scan at once."""
    slabs = [slab.copied() for slab in probability_slabs(image, recipe, cs, ds, networks=networks, seed=seed)]
    one, other = (
        [one for one in found if one is not None]
        for found in zip(*((s.cs, s.ds) for s in slabs), strict=True)
    )
    return NetworkProbabilities(
        torch.cat(one, dim=1) if one else None,
        torch.cat(other, dim=1) if other else None,
        torch.cat([slab.mean for slab in slabs], dim=1),
    )


@dataclass
class _Progress:
    """Tells how many windows are done, and of how many.

    Args:
        told: See `on_window` of `probability_slabs`.
    """

    told: Callable[[int, int], None] | None
    _done: int = 0
    _total: int = 0

    def expect(self, count: int) -> None:
        """So many windows are to come."""
        self._total = self._done + count
        self._tell()

    def step(self) -> None:
        """A window is done."""
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        if self.told is not None:
            self.told(self._done, self._total)


@torch.inference_mode()
def probability_slabs(
    image: Tensor,
    recipe: Recipe,
    cs: Callable[[Tensor], Tensor],
    ds: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
    *,
    networks: Networks = "ensemble",
    seed: int | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> Iterator[NetworkProbabilities]:
    """Ask the networks about a prepared scan, in overlapping windows where it is larger than one.

    A window all of whose voxels are alike, as of air or of padding, shows nothing: it is background, and no network is
    asked. Of many windows only those are asked in which a first look by CS finds anything possible; the others are
    background too, see `diffcl.inference.first_look`. The noise from which DS starts is that of the whole scan,
    so overlapping windows agree on it and the same scan, seed and settings give the same answer.

    Args:
        image: `(C, X, Y, Z)`, C its sequences.
        recipe: Window, overlap, DDIM steps and ensemble weight.
        cs: CS of an engine, or in evaluation mode.
        ds: DS, likewise; not needed when only CS is asked.
        networks: Who is asked.
        seed: Of the noise; the recipe's by default.
        on_window: Told, before the first window that shows something and after each, how many of them are done and how
            many there are; after a first look there may be fewer.

    Yields:
        The answer in slabs that follow each other along the first axis; of a scan within one window, a single one. The
        next slab takes the memory of the one before, see `copied`.
    """
    if networks != "cs" and ds is None:
        raise ValueError("DS is asked but not given")
    framed = frame(image.shape[1:], recipe)
    whole = framed.pad(image[None].float())[0]
    size = whole.shape[1:]
    seed = recipe.inference.seed if seed is None else seed
    noise = Noise((recipe.classes, *size), seed, framed.window[0])
    diffusion = LabelDiffusion(recipe.diffusion)
    progress = _Progress(on_window)

    def one(where: Box) -> Tensor:
        return cs(crop_of(whole, where)[None]).float().softmax(dim=1)

    def other(where: Box) -> Tensor:
        assert ds is not None
        crop, start = crop_of(whole, where)[None], noise.crop(where)[None].to(image.device)
        return diffusion.sample(
            lambda noisy, time: ds(crop, noisy, time), start, recipe.diffusion.sampling_steps
        )

    def ask(where: Box) -> Tensor:
        found = [one(where)] if networks != "ds" else []
        if networks != "cs":
            found.append(other(where))
        progress.step()
        return torch.cat(found, dim=1)

    def look(where: Box) -> Tensor:
        found = one(where)
        progress.step()
        return found

    windows = layout(size, framed.window, recipe.inference.overlap)
    asked = [not shows_nothing(crop_of(whole, where)) for where in windows]
    few = first_windows(whole, framed.window, sum(asked)) if recipe.inference.first_look else []
    if few:
        progress.expect(len(few) + sum(asked))
        places = possible_places(size, few, look, whole.device)
        asked = [wanted and touches(places, where) for wanted, where in zip(asked, windows, strict=True)]
    progress.expect(sum(asked))
    channels = recipe.classes * (2 if networks == "ensemble" else 1)
    first = 0
    for slab in joined(windows, asked, size, ask, channels, recipe.classes, whole.device):
        x, y, z = framed.place
        there = slice(max(0, x.start - first), x.stop - first)
        first += slab.shape[1]
        parts = slab[:, there, y, z].split(recipe.classes)
        if networks == "ensemble":
            yield NetworkProbabilities(
                parts[0], parts[1], parts[0].lerp(parts[1], recipe.inference.ds_weight)
            )
        else:
            yield NetworkProbabilities(
                parts[0] if networks == "cs" else None, parts[0] if networks == "ds" else None, parts[0]
            )
