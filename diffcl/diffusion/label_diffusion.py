"""Diffusion over label maps: one-hot classes in -1..1, noised forward, denoised by DDIM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from diffcl.recipe import Diffusion

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Takes the noisy label map Y_t `(B, K, X, Y, Z)` and the step `(B,)` to the class logits of Y_0."""


class LabelDiffusion:
    """The schedule of a recipe, and what is done with it.

    The sampling steps are spaced evenly and start at T itself, where the label map is pure noise in
    training too; steps that start lower are off by what of the label is left there.

    Attributes:
        steps: T.
        signal: Cumulative product of 1 - beta, `(T,)`: `abar_t` of the method.

    Source:
        Song et al. 2021 (DDIM); Guo et al. 2025 (Diff-CL) for Y_0 as a label map.
    """

    def __init__(self, settings: Diffusion) -> None:
        self.steps = settings.steps
        self._settings = settings
        beta = torch.linspace(settings.beta_start, settings.beta_end, settings.steps, dtype=torch.float32)
        self.signal = torch.cumprod(1 - beta, dim=0)

    def encode(self, classes: Tensor, count: int) -> Tensor:
        """Class values `(B, X, Y, Z)` to Y_0 `(B, count, X, Y, Z)` with values -1 and 1."""
        onehot = functional.one_hot(classes, count).movedim(-1, 1).float()
        return onehot * 2 - 1

    def draw_time(self, count: int, generator: torch.Generator) -> Tensor:
        """Random diffusion steps `(count,)`, 0..T-1, of density proportional to t^late."""
        even = torch.rand(count, generator=generator, dtype=torch.float64)
        return (self.steps * even ** (1 / (1 + self._settings.late))).long()

    def noise(self, clean: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Y_t of Y_0: `sqrt(abar_t) Y_0 + sqrt(1 - abar_t) noise`.

        Args:
            clean: Y_0 `(B, K, X, Y, Z)`.
            time: Diffusion steps `(B,)`, 0..T-1.
            noise: Standard normal, like `clean`.
        """
        signal = self.signal.to(clean.device)[time].view(-1, *[1] * (clean.ndim - 1))
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise

    def sample(self, denoiser: Denoiser, noise: Tensor, steps: int) -> Tensor:
        """Probabilities of Y_0 by a DDIM chain (eta 0): the mean of the softmax over its steps.

        Args:
            denoiser: Predicts the logits of Y_0.
            noise: The start, standard normal `(B, K, X, Y, Z)`; it decides the result.
            steps: Length of the chain, 1..T.

        Returns:
            `(B, K, X, Y, Z)`, summing to 1 over K.
        """
        current = noise
        total = torch.zeros_like(noise)
        for left, time in zip(reversed(range(steps)), self._times(steps), strict=True):
            told = torch.full((noise.shape[0],), time, device=noise.device)
            probabilities = denoiser(current, told).float().softmax(dim=1)
            total += probabilities
            if left:
                current = self._earlier(current, probabilities * 2 - 1, time, time - self.steps // steps)
        return total / steps

    def _times(self, steps: int) -> list[int]:
        """The diffusion steps of a chain, evenly spaced from the last one down."""
        offset = self.steps // steps - 1
        even = torch.linspace(self.steps - 1 - offset, 0, steps).round().long() + offset
        return even.tolist()

    def _earlier(self, noisy: Tensor, clean: Tensor, time: int, earlier: int) -> Tensor:
        """Y of an earlier step, of Y_t and what is taken for Y_0; the noise stays the same (eta 0)."""
        signal, before = self.signal[time], self.signal[earlier]
        noise = (noisy - signal.sqrt() * clean) / (1 - signal).sqrt()
        return before.sqrt() * clean + (1 - before).sqrt() * noise
