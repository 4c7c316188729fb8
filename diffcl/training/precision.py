"""In which number format the networks of a training compute."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from time import perf_counter

import torch

from diffcl.networks.convolution import Convolution
from diffcl.recipe import Training

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What a processor has that computes in bfloat16, by its name for it."""

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
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in INSTRUCTIONS) and half_is_faster()


def computing(device: torch.device, *, half: bool) -> AbstractContextManager[object]:
    """The context in which the networks compute; weights, losses and what is added up stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


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
