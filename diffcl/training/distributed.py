"""A training on several processes: every one computes its share of the crops and knows the results of all.

Each process makes the whole batch, which is a function of the seed and the step, and sends its share of the crops
through the networks. What comes out is gathered, so every process has the losses, the memory bank and the random
numbers of a training on one. The processes are those of `torchrun`; without it there is one, and nothing here does
anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0. The first one writes all files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Take part in the training that `torchrun` started this process for, if it did.

    Args:
        device: `cpu` or `cuda`.

    Yields:
        The device of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def spread(call: Callable[..., tuple[Tensor, ...]], *batches: Tensor) -> tuple[Tensor, ...]:
    """What `call` gives for a batch, of which each process computes a share. Gradients go back the same way.

    A process beyond the items has an empty share and computes nothing.

    Args:
        call: Treats the items of a batch one by one.
        batches: Its arguments `(B, ...)`.

    Returns:
        Its results `(B, ...)`, the same in every process.
    """
    if size() == 1:
        return call(*batches)
    counts = [len(part) for part in torch.empty(len(batches[0])).tensor_split(size())]
    mine = [batch.tensor_split(size())[rank()] for batch in batches]
    found = call(*mine) if counts[rank()] else ()
    likes = first_says([(part.shape[1:], part.dtype) for part in found])
    where, learning = batches[0].device, torch.is_grad_enabled()
    parts = found or [
        torch.empty(0, *shape, dtype=dtype, device=where, requires_grad=learning) for shape, dtype in likes
    ]
    return tuple(_Gather.apply(part, counts) for part in parts)


def average_gradients(network: nn.Module) -> None:
    """Give every process the mean of all gradients; what no process reached has none, as in a training on one."""
    if size() == 1:
        return
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    reached = torch.tensor([float(one.grad is not None) for one in learned], device=learned[0].device)
    distributed.all_reduce(reached, distributed.ReduceOp.MAX)
    for parameter, somewhere in zip(learned, reached.tolist(), strict=True):
        if somewhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
            parameter.grad /= size()


def first_says(value: Value) -> Value:
    """The value that the first process has."""
    if size() == 1:
        return value
    told = [value]
    distributed.broadcast_object_list(told)
    return told[0]


def share(items: Sequence[Value]) -> Sequence[Value]:
    """Every n-th item, beginning with this process's."""
    return items[rank() :: size()]


def unite(mine: Sequence[Value]) -> list[Value]:
    """The items of which every process has its `share`, in their order."""
    if size() == 1:
        return list(mine)
    shares: list[Any] = [None] * size()
    distributed.all_gather_object(shares, list(mine))
    return list(_alternating(shares))


def in_turn(call: Callable[[], Value]) -> Value:
    """Call in the first process, then in the others, which find what it left on disk."""
    found = call() if rank() == 0 else None
    first_says(None)
    return call() if found is None else found


def _alternating(shares: Sequence[Sequence[Value]]) -> Iterable[Value]:
    for place in range(max(len(one) for one in shares)):
        yield from (one[place] for one in shares if place < len(one))


class _Gather(torch.autograd.Function):
    """Shares `(B_r, ...)` of all processes to `(B, ...)`.

    Every process computes the loss of the whole batch, and gradients are averaged over processes. So the gradient
    of a share counts as often as there are processes.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.counts = counts
        most = max(counts)
        sent = torch.zeros(most, *part.shape[1:], dtype=part.dtype, device=part.device)
        sent[: len(part)] = part
        arrived = [torch.empty_like(sent) for _ in counts]
        distributed.all_gather(arrived, sent)
        return torch.cat([one[:count] for one, count in zip(arrived, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.split(ctx.counts)[rank()] * size(), None
