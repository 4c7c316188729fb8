"""How the networks read a whole prepared scan: in which windows, in which part of it, and slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcl.diffusion import LabelDiffusion
from diffcl.geometry import Box, around, grown, moved_by, overlap_of
from diffcl.inference.ensemble import NetworkProbabilities, Networks
from diffcl.inference.first_look import BLOCK, ds_looks, first_windows, possible_places, touches
from diffcl.inference.noise import Noise
from diffcl.inference.sliding import crop_of, frame, joined, layout, shows_nothing
from diffcl.recipe import Recipe


@dataclass(frozen=True)
class Reading:
    """What the networks say of the part of a prepared scan in which anything is possible.

    Attributes:
        box: That part; outside of it all is background. A scan in which nothing is possible has a small one.
        slabs: The answer there in slabs that follow each other along the first axis; of a part within one window, a
            single one. The next slab takes the memory of the one before, see `NetworkProbabilities.copied`.
    """

    box: Box
    slabs: Iterator[NetworkProbabilities]


@dataclass
class _Progress:
    """Tells how many windows are done, and of how many.

    Args:
        told: See `on_window` of `read`.
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
def read(
    image: Tensor,
    recipe: Recipe,
    cs: Callable[[Tensor], Tensor],
    ds: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
    *,
    networks: Networks = "ensemble",
    seed: int | None = None,
    whole_scan: bool = False,
    on_window: Callable[[int, int], None] | None = None,
) -> Reading:
    """Ask the networks about a prepared scan, in overlapping windows where it is larger than one.

    A window all of whose voxels are alike, as of air or of padding, shows nothing: it is background, and no network is
    asked. Of many windows only those are asked in which a first look finds anything possible; the others are
    background too, see `diffcl.inference.first_look`. The noise from which DS starts is that of the whole scan,
    so overlapping windows agree on it and the same scan, seed and settings give the same answer.

    Args:
        image: `(C, X, Y, Z)`, C its sequences.
        recipe: Window, overlap, DDIM steps and ensemble weight.
        cs: CS of an engine, or in evaluation mode.
        ds: DS, likewise; not needed when only CS is asked.
        networks: Who is asked.
        seed: Of the noise; the recipe's by default.
        whole_scan: Whether the box is that of the whole scan in any case.
        on_window: Told, before the first window that shows something and after each, how many of them are done and how
            many there are; after a first look there may be fewer.
    """
    if networks != "cs" and ds is None:
        raise ValueError("DS is asked but not given")
    framed = frame(image.shape[1:], recipe)
    whole = framed.pad(image[None].float())[0]
    size = whole.shape[1:]
    seed = recipe.inference.seed if seed is None else seed
    diffusion = LabelDiffusion(recipe.diffusion)
    progress = _Progress(on_window)

    def one(where: Box) -> Tensor:
        return cs(crop_of(whole, where)[None]).float().softmax(dim=1)

    def other(where: Box, start: Tensor) -> Tensor:
        assert ds is not None
        crop = crop_of(whole, where)[None]
        return diffusion.sample(
            lambda noisy, time: ds(crop, noisy, time),
            start[None].to(image.device),
            recipe.diffusion.sampling_steps,
        )

    def look(where: Box) -> Tensor:
        found = other(where, any_noise()) if ds_looks(recipe, networks) else one(where)
        progress.step()
        return found

    def any_noise() -> Tensor:  # that of the scan would be drawn again and again for windows in this order
        return torch.randn(recipe.classes, *framed.window, generator=torch.Generator().manual_seed(seed))

    windows = layout(size, framed.window, recipe.inference.overlap)
    asked = [not shows_nothing(crop_of(whole, where)) for where in windows]
    few = first_windows(whole, framed.window, sum(asked)) if recipe.inference.first_look else []
    if few:
        progress.expect(len(few) + sum(asked))
        places = possible_places(size, few, look, whole.device)
        asked = [wanted and touches(places, where) for wanted, where in zip(asked, windows, strict=True)]
    progress.expect(sum(asked))
    part = around([where for where, wanted in zip(windows, asked, strict=True) if wanted] or windows[:1])
    box = framed.place if whole_scan else overlap_of(grown(part, BLOCK, size), framed.place)
    assert box is not None
    noise = Noise((recipe.classes, *size), seed, framed.window[0], part)

    def ask(where: Box) -> Tensor:
        found = [one(where)] if networks != "ds" else []
        if networks != "cs":
            found.append(other(where, noise.crop(where)))
        progress.step()
        return torch.cat(found, dim=1)

    channels = recipe.classes * (2 if networks == "ensemble" else 1)
    answers = joined(windows, asked, box, ask, channels, recipe.classes, whole.device)
    return Reading(moved_by(box, framed.place), _slabs(answers, recipe, networks))


def _slabs(answers: Iterator[Tensor], recipe: Recipe, networks: Networks) -> Iterator[NetworkProbabilities]:
    while (found := _next_slab(answers, recipe, networks)) is not None:
        yield found
        del found  # before the windows of the next one are asked


@torch.inference_mode()
def _next_slab(answers: Iterator[Tensor], recipe: Recipe, networks: Networks) -> NetworkProbabilities | None:
    slab = next(answers, None)
    if slab is None:
        return None
    if networks == "ensemble":
        one, other = slab.split(recipe.classes)
        return NetworkProbabilities(one, other, one.lerp(other, recipe.inference.ds_weight))
    return NetworkProbabilities(slab if networks == "cs" else None, slab if networks == "ds" else None, slab)


def predict_probabilities(
    image: Tensor,
    recipe: Recipe,
    cs: Callable[[Tensor], Tensor],
    ds: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
    *,
    networks: Networks = "ensemble",
    seed: int | None = None,
) -> NetworkProbabilities:
    """What `read` says of a whole scan at once."""
    reading = read(image, recipe, cs, ds, networks=networks, seed=seed, whole_scan=True)
    slabs = [slab.copied() for slab in reading.slabs]
    one, other = (
        [one for one in found if one is not None]
        for found in zip(*((s.cs, s.ds) for s in slabs), strict=True)
    )
    return NetworkProbabilities(
        torch.cat(one, dim=1) if one else None,
        torch.cat(other, dim=1) if other else None,
        torch.cat([slab.mean for slab in slabs], dim=1),
    )
