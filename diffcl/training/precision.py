"""In which number format the networks of a training compute."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter

import torch

from diffcl.networks.convolution import Convolution
from diffcl.networks.precision import computing, knows_bfloat16
from diffcl.recipe import Training

_ROUNDS = 5
"""How often each format is measured, in turns; the fastest counts, so the first may compile."""


def in_half(settings: Training, device: torch.device) -> bool:
    """Whether the networks compute in bfloat16 on a device: as the recipe says, or where that is faster.

    Having instructions for it does not make a processor faster: some do half as many products a second with them as
    in float32. So a processor that has them is measured, once a process.
    """
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return knows_bfloat16() and half_is_faster()


@lru_cache
def half_is_faster() -> bool:
    """Whether convolutions are computed faster in bfloat16, on the processor and with the threads of now."""
    taken = [(convolution_seconds(half=True), convolution_seconds(half=False)) for _ in range(_ROUNDS)]
    half, single = map(min, zip(*taken, strict=True))
    return bool(half < single)


def convolution_seconds(*, half: bool) -> float:
    """What a convolution takes as the networks have them, forward and backward."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        layer = Convolution(32, 32, kernel_size=3, padding=1)
        volume = torch.zeros(1, 32, 32, 32, 32, requires_grad=True)
    start = perf_counter()
    with torch.enable_grad(), computing(volume.device, half=half):
        layer(volume).sum().backward()
    return perf_counter() - start
