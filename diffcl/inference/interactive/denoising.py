"""DS on a label map that is begun: noised a little and denoised again, with the known voxels held."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffcl.diffusion import LabelDiffusion
from diffcl.geometry import Box
from diffcl.inference.sliding import frame, joined, layout
from diffcl.recipe import Recipe

NOISE = (0.45, 0.3)
"""How far the label map is noised before each pass of DS, as a share of the diffusion steps; on validation scans, more
noise forgot what the drawn slices say, and less left DS nothing to mend."""

LEARNED_NOISE = (0.6,)
"""The same for a DS that has learned to complete: it reads what is drawn where no noise is, so one pass is enough. More
noise, up to the whole of it, and less were no better on validation scans."""


@torch.inference_mode()
def completed_probabilities(
    image: Tensor,
    begun: Tensor,
    known: Tensor,
    recipe: Recipe,
    ds: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    seed: int | None = None,
) -> Tensor:
    """What DS takes a label map for that somebody has begun and something else has completed.

    The label map is noised to a step of the diffusion and denoised in one, once for each of `NOISE`. Between the passes
    the known voxels are put back as they are, and noise is drawn anew, so that what is found fits them without a seam.
    A DS that has learned to complete (`diffusion.completion`) sees them without noise, as when it learned, in one pass.

    Args:
        image: Prepared scan `(C, X, Y, Z)`, C its sequences.
        begun: Class values of a first completion `(X, Y, Z)`, int64.
        known: Which of them are known `(X, Y, Z)`, bool.
        recipe: Window, overlap and diffusion.
        ds: DS of an engine.
        seed: Of the noise; the recipe's by default.

    Returns:
        `(K, X, Y, Z)`, summing to 1 over K.

    Source:
        Lugmayr et al. 2022 (RePaint) for holding the known part and going back and forth; Meng et al. 2022 (SDEdit) for
        starting from something begun rather than from noise.
    """
    diffusion, count = LabelDiffusion(recipe.diffusion), recipe.classes
    framed = frame(image.shape[1:], recipe)
    whole = framed.pad(image[None].float())
    windows = layout(whole.shape[2:], framed.window, recipe.inference.overlap)
    clean = diffusion.encode(begun[None], count)
    random = torch.Generator().manual_seed(recipe.inference.seed if seed is None else seed)
    current, found = clean, clean

    def denoised(noisy: Tensor, time: Tensor, where: Box) -> Tensor:
        there = (slice(None), slice(None), *where)
        return ds(whole[there], noisy[there], time).float().softmax(dim=1)

    learned = recipe.diffusion.completion > 0
    for share in LEARNED_NOISE if learned else NOISE:
        last = diffusion.steps - 1
        time = torch.full((1,), min(int(share * diffusion.steps), last), device=image.device)
        noise = torch.randn(clean.shape, generator=random).to(image.device)
        noisy = diffusion.noise(current, time, noise)
        noisy = framed.pad(torch.where(known, clean, noisy) if learned else noisy)
        ask = partial(denoised, noisy, time)
        slabs = joined(windows, [True] * len(windows), framed.place, ask, count, count, image.device)
        found = torch.cat([slab.clone() for slab in slabs], dim=1)[None]
        current = torch.where(known, clean, found * 2 - 1)
    return found[0]
