"""The memory of tensors as arrays for compiled kernels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

TASK = 262144
"""Numbers that a thread works on at a time: enough for the calls not to count."""


def rows(volume: Tensor) -> NDArray[Any]:
    """The memory of a volume `(B, C, X, Y, Z)`, channels innermost; bfloat16 as its bits."""
    return flat(volume.detach().contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1))


def flat(tensor: Tensor) -> NDArray[Any]:
    """The memory of a tensor; bfloat16 as its bits."""
    line = tensor.detach().reshape(-1)
    array: NDArray[Any] = (line.view(torch.uint16) if line.dtype == torch.bfloat16 else line).numpy()
    return array


def parts(count: int, numbers: int) -> list[tuple[int, int]]:
    """First and last of the parts that threads share, of so many rows or blocks of so many numbers each.

    >>> parts(5, 100_000)
    [(0, 2), (2, 4), (4, 5)]
    """
    return list(pairwise([*range(0, count, max(1, TASK // numbers)), count]))
