"""Class probabilities of CS, DS and their weighted mean, over a whole prepared scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import sliding_window_inference
from torch import Tensor
from torch.nn import functional

from diffcl.diffusion import LabelDiffusion
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

    @property
    def disagreement(self) -> float | None:
        """1 - Dice between the outlines of CS and DS over all classes; 1 where neither found anything.

        None where only one was asked.
        """
        if self.cs is None or self.ds is None:
            return None
        total = both = 0
        for pair in zip(self.cs.split(SLAB, dim=1), self.ds.split(SLAB, dim=1), strict=True):
            one, other = map(most_probable, pair)
            total += int(one.count_nonzero() + other.count_nonzero())
            both += int(((one == other) & (one > 0)).count_nonzero())
        return 1.0 - 2 * both / total if total else 1.0


def most_probable(probabilities: Tensor) -> Tensor:
    """The most probable class of each voxel `(K, X, Y, Z)` to `(X, Y, Z)`, uint8.

    On a CPU argmax is slow; slab by slab, because its indices take eight bytes each.
    """
    return torch.cat([slab.max(dim=0).indices.byte() for slab in probabilities.split(SLAB, dim=1)])


@torch.inference_mode()
def predict_probabilities(
    image: Tensor,
    recipe: Recipe,
    cs: Callable[[Tensor], Tensor],
    ds: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
    *,
    networks: Networks = "ensemble",
    seed: int | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> NetworkProbabilities:
    """Ask the networks about a prepared scan, in overlapping windows where it is larger than one.

    A window all of whose voxels are alike, as of air or of padding, shows nothing: it is background, and no network is
    asked. The noise from which DS starts is drawn for the whole scan at once, so overlapping windows agree on it
    and the same scan, seed and settings give the same answer.

    Args:
        image: `(1, X, Y, Z)`.
        recipe: Window, overlap, DDIM steps and ensemble weight.
        cs: CS of an engine, or in evaluation mode.
        ds: DS, likewise; not needed when only CS is asked.
        networks: Who is asked.
        seed: Of the noise; the recipe's by default.
        on_window: Told, before the first window that shows something and after each, how many of them are done and how
            many there are.
    """
    if networks != "cs" and ds is None:
        raise ValueError("DS is asked but not given")
    size = image.shape[1:]
    window = [
        min(w, math.ceil(s / grain) * grain)
        for w, s, grain in zip(recipe.grid.window, size, recipe.grains, strict=True)
    ]
    before = [max(0, w - s) // 2 for w, s in zip(window, size, strict=True)]
    after = [max(0, w - s) - b for w, s, b in zip(window, size, before, strict=True)]
    padding = [n for b, a in zip(reversed(before), reversed(after), strict=True) for n in (b, a)]
    whole = (
        functional.pad(image[None].float(), padding, mode="replicate")
        if any(padding)
        else image[None].float()
    )
    random = torch.Generator().manual_seed(recipe.inference.seed if seed is None else seed)
    noise = torch.randn(1, recipe.classes, *whole.shape[2:], generator=random).half()  # half the memory
    diffusion = LabelDiffusion(recipe.diffusion)
    done = total = 0
    if on_window is not None:
        total = sum(
            not _shows_nothing(whole[part]) for part in windows(whole, window, recipe.inference.overlap)
        )
        on_window(done, total)

    def opinions(crop: Tensor, condition: Tensor) -> Tensor:
        nonlocal done
        if _shows_nothing(crop):
            background = torch.zeros(1, recipe.classes, *crop.shape[2:], device=crop.device)
            background[:, 0] = 1
            return background.repeat(1, 2 if networks == "ensemble" else 1, 1, 1, 1)
        found = []
        if networks != "ds":
            found.append(cs(crop).float().softmax(dim=1))
        if networks != "cs" and ds is not None:
            steps, start = recipe.diffusion.sampling_steps, condition.float()
            found.append(diffusion.sample(lambda noisy, time: ds(crop, noisy, time), start, steps))
        done += 1
        if on_window is not None:
            on_window(done, total)
        return torch.cat(found, dim=1)

    answer = sliding_window_inference(
        whole,
        window,
        1,
        opinions,
        overlap=recipe.inference.overlap,
        mode="gaussian",
        condition=noise.to(image.device),
    )
    del whole, noise
    assert isinstance(answer, Tensor)
    x, y, z = (slice(b, b + s) for b, s in zip(before, size, strict=True))
    parts = answer[0, :, x, y, z].split(recipe.classes)
    if networks == "ensemble":
        weight = recipe.inference.ds_weight
        return NetworkProbabilities(parts[0], parts[1], parts[0].lerp(parts[1], weight))
    return NetworkProbabilities(
        parts[0] if networks == "cs" else None, parts[0] if networks == "ds" else None, parts[0]
    )


def windows(whole: Tensor, window: Sequence[int], overlap: float) -> list[tuple[slice, ...]]:
    """Where the networks are asked, as MONAI's sliding window lays it out.

    Args:
        whole: `(1, 1, X, Y, Z)`, nowhere smaller than the window.
        window: Its size.
        overlap: Share by which neighbours overlap.

    Returns:
        An index of `whole` for each window.
    """
    size = whole.shape[2:]
    steps = [w if w == s else max(1, int(w * (1 - overlap))) for w, s in zip(window, size, strict=True)]
    return [(slice(None), slice(None), *where) for where in dense_patch_slices(size, window, steps)]


def _shows_nothing(crop: Tensor) -> bool:
    lowest, highest = crop.aminmax()
    return bool(lowest == highest)
