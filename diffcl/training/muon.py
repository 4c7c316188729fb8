"""Muon: an update rule for matrices, by which directions that few voxels ask for are learned as fast as the others."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial of a singular value that each turn of the iteration takes: `a s + b s^3 + c s^5`."""

TURNS = 5
"""Of the iteration."""

MOMENTUM = 0.95
"""Share of the average of former gradients that is kept."""

TINY = 1e-7
"""The least by which a gradient is divided."""


class Muon(torch.optim.Optimizer):
    """Steps along a matrix nearly orthogonal, in place of the average of the gradients.

    Each matrix `(A, B)` is changed by `0.2 sqrt(max(A, B)) lr` times that, about the length of a step of AdamW, so
    that one learning rate serves both. `torch.optim.Muon` has the same rule, but computes in bfloat16: on a processor
    without instructions for it that takes a fifth to a quarter of a step of training.

    Args:
        matrices: Parameters of two dimensions.
        lr: Learning rate.
        weight_decay: What is taken off the weights with each step, as a share of the learning rate.

    Source:
        Jordan et al. 2024 for the rule and its numbers; Liu et al. 2025 ("Muon is scalable for LLM training") for the
        length.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, *, weight_decay: float = 0.0) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # nobody gives it a closure
        """Apply the gradients; a matrix without one stays as it is."""
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                average = state["momentum_buffer"]
                average.lerp_(matrix.grad, 1 - MOMENTUM)
                ahead = matrix.grad.lerp(average, MOMENTUM)
                matrix.mul_(1 - rate * decay)
                matrix.add_(orthogonal(ahead), alpha=-0.2 * max(matrix.shape) ** 0.5 * rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors, whose singular values lie about 1, all but those that are nearly 0.

    Newton-Schulz iteration. With `G = X X^T`, a turn is `X <- P X`, `P = a + b G + c G^2`, and then `G <- P G P`. So
    the turns are taken of G alone, which is small where a kernel has many voxels, and X is multiplied once.

    Args:
        matrix: `(A, B)`, float32.

    Returns:
        `(A, B)`, float32.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    unit = matrix / matrix.norm().clamp(min=TINY)
    gram = unit @ unit.T
    turned = torch.eye(len(unit), dtype=unit.dtype, device=unit.device)
    for _ in range(TURNS):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        turned, gram = factor @ turned, factor @ gram @ factor
    found: Tensor = turned @ unit
    return found
