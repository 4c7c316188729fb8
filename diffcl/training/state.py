"""What a training changes: both networks, their averages, the memory bank and the optimisers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffcl.diffusion import LabelDiffusion
from diffcl.errors import DataError
from diffcl.losses.contrastive import MemoryBank
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.networks.precision import computing
from diffcl.recipe import Recipe, Training
from diffcl.training.distributed import average_gradients, first_says
from diffcl.training.optimiser import Optimiser
from diffcl.training.precision import in_half

Network = TypeVar("Network", bound=nn.Module)


class Student(Generic[Network]):
    """A network with its optimiser and its slow average, the teacher.

    Attributes:
        network: Learns.
        teacher: Average of its weights over the last steps; gives pseudo-labels and is what is published.
    """

    def __init__(self, network: Network, settings: Training) -> None:
        self.network = network
        self.average: AveragedModel = AveragedModel(network, use_buffers=True)
        self._decay = settings.average
        self._clip = settings.clip
        self._optimiser = Optimiser(network, settings)

    @property
    def teacher(self) -> Network:
        """The averaged network."""
        return cast(Network, self.average.module)

    def learn(self, loss: Tensor, advance: float = 1.0) -> None:
        """One step of the optimiser, and of the average.

        Args:
            loss: To make smaller.
            advance: How many steps of the schedule it stands for; the average forgets as much as in all of them.
        """
        self.network.zero_grad(set_to_none=True)
        if loss.requires_grad:  # a step whose crops have nothing that is known teaches nothing
            loss.backward()
        average_gradients(self.network)
        nn.utils.clip_grad_norm_(self.network.parameters(), self._clip)
        self._optimiser.step(advance)
        self.average.multi_avg_fn = get_ema_multi_avg_fn(self._decay**advance)
        self.average.update_parameters(self.network)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Put published weights into the network and into its average, before the first step."""
        self.network.load_state_dict(weights)
        self.teacher.load_state_dict(weights)
        self.average.n_averaged.fill_(1)  # or the first step would be taken for the average of all before

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])


class TrainingState:
    """CS and DS of a run.

    Args:
        recipe: Shapes, schedule and seed.
        device: Where the networks live.

    Attributes:
        cs: The convolution segmentation network.
        ds: The diffusion segmentation network; None where the recipe trains CS alone.
        bank: Memory bank of the contrastive loss.
        diffusion: The schedule of the label diffusion.
        half: Whether the networks compute in bfloat16; None until they have computed.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.device = device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.training.seed)
            cs = ConvolutionSegmenter(recipe).to(device)
            ds = DiffusionSegmenter(recipe).to(device)
        self.cs = Student(cs, recipe.training)
        self.ds = None if recipe.training.method == "supervised" else Student(ds, recipe.training)
        for name, network in (("cs", cs), ("ds", ds)):
            network.requires_grad_(recipe.training.learns in ("both", name))
        self.bank = MemoryBank(recipe.classes, recipe.cs.projection, recipe.contrastive).to(device)
        self.diffusion = LabelDiffusion(recipe.diffusion)
        self.half: bool | None = None

    def start_from(self, cs: nn.Module, ds: nn.Module) -> None:
        """Take over the weights of published networks of the same shapes."""
        self.cs.start_from(cs.state_dict())
        if self.ds is not None:
            self.ds.start_from(ds.state_dict())

    def computing(self) -> AbstractContextManager[object]:
        """The context in which the networks compute, in one number format from the first step of a run to its last."""
        if self.half is None:
            self.half = first_says(in_half(self.recipe.training, self.device))
        return computing(self.device, half=self.half)

    def learn(self, cs_loss: Tensor, ds_loss: Tensor, step: int, advance: float = 1.0) -> None:
        """Let the networks that learn take their step.

        Args:
            cs_loss: Of CS.
            ds_loss: Of DS.
            step: Its number.
            advance: How many steps of the schedule it stands for.

        Raises:
            DataError: If a loss is not finite; nothing was changed by the step.
        """
        if not torch.isfinite(cs_loss + ds_loss):
            raise DataError(f"step {step}", "the loss is not finite", "Lower training.learning_rate")
        if self.recipe.training.learns != "ds":
            self.cs.learn(cs_loss, advance)
        if self.ds is not None and self.recipe.training.learns != "cs":
            self.ds.learn(ds_loss, advance)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to continue to the same result."""
        state = {"cs": self.cs.state(), "bank": self.bank.state_dict(), "half": self.half}
        if self.ds is not None:
            state["ds"] = self.ds.state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.cs.restore(state["cs"])
        self.bank.load_state_dict(state["bank"])
        self.half = state.get("half")  # not known to those that were kept before it was measured
        if self.ds is not None:
            self.ds.restore(state["ds"])
