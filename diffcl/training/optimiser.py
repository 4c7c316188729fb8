"""What updates a network in training: AdamW, SGD, or Muon for its matrices beside AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.optimizers import WarmupCosineSchedule
from torch import Tensor, nn

from diffcl.recipe import Training
from diffcl.training.muon import Muon

WARM_UP = 0.02
"""Share of the steps over which the learning rate rises."""


class Matrices:
    """The kernels of the convolutions of a network as matrices, which share memory with them.

    A kernel `(A, B, X, Y, Z)` is a matrix `(A, X Y Z B)` where channels are innermost in memory: what an update rule
    for matrices needs. One with a single channel in or out is left out: nothing in it is a matrix.

    Args:
        network: On its device already. Its kernels are put into `torch.channels_last_3d`.
    """

    def __init__(self, network: nn.Module) -> None:
        network.to(memory_format=torch.channels_last_3d)
        self.kernels: list[nn.Parameter] = [
            parameter
            for parameter in network.parameters()
            if parameter.ndim == 5 and min(parameter.shape[:2]) > 1
        ]
        self.views = [nn.Parameter(_rows(kernel.detach())) for kernel in self.kernels]

    def take_gradients(self) -> None:
        """Show the gradients of the kernels to the matrices."""
        for kernel, view in zip(self.kernels, self.views, strict=True):
            view.grad = None if kernel.grad is None else _rows(kernel.grad)


def _rows(kernel: Tensor) -> Tensor:
    return kernel.permute(0, 2, 3, 4, 1).flatten(1)


class Optimiser:
    """Updates a network, with a learning rate that warms up and then falls as a cosine to 0.

    Args:
        network: On its device already.
        settings: Update rule, learning rate, weight decay, number of steps.
    """

    def __init__(self, network: nn.Module, settings: Training) -> None:
        every = list(network.parameters())
        rate, decay = settings.learning_rate, settings.weight_decay
        self._matrices: Matrices | None = None
        self._rules: Sequence[torch.optim.Optimizer]
        if settings.optimiser == "sgd":
            self._rules = [torch.optim.SGD(every, rate, momentum=0.9, nesterov=True, weight_decay=decay)]
        elif settings.optimiser == "adamw":
            self._rules = [torch.optim.AdamW(every, rate, weight_decay=decay)]
        else:
            self._matrices = Matrices(network)
            kernels = {id(kernel) for kernel in self._matrices.kernels}
            rest = [parameter for parameter in every if id(parameter) not in kernels]
            self._rules = [
                Muon(self._matrices.views, rate, weight_decay=decay),
                torch.optim.AdamW(rest, rate, weight_decay=decay),
            ]
        self._peak = rate
        warm_up = max(1, round(settings.steps * WARM_UP))
        schedule = WarmupCosineSchedule(self._rules[0], warm_up, settings.steps, end_lr=0.0)
        self._share: Callable[[float], float] = schedule.lr_lambda
        self._place = 0.0

    def step(self, advance: float = 1.0) -> None:
        """Apply the gradients, and go on in the schedule, by one step of it or by what is said.

        The learning rate is that of the middle of the way, so that neither the first step nor the last one has none.
        """
        if self._matrices is not None:
            self._matrices.take_gradients()
        rate = self._peak * self._share(self._place + advance / 2)
        for rule in self._rules:
            for group in rule.param_groups:
                group["lr"] = rate
            rule.step()
        self._place += advance

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs."""
        return {
            "rules": [rule.state_dict() for rule in self._rules],
            "place": self._place,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        for part, content in zip(self._rules, state["rules"], strict=True):
            part.load_state_dict(content)
        earlier = state.get("schedules")  # of a checkpoint that was kept before the place was
        self._place = earlier[0]["last_epoch"] if earlier else state["place"]
