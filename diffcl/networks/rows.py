"""The memory of tensors as arrays for compiled kernels."""

from __future__ import annotations

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
