"""In which number format the networks of a training compute."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from diffcl.recipe import Training

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What a processor has that computes in bfloat16, by its name for it."""


def in_half(settings: Training, device: torch.device) -> bool:
    """Whether the networks compute in bfloat16 on a device: as the recipe says, or where that is faster."""
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in INSTRUCTIONS)


def computing(settings: Training, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the networks compute; weights, losses and what is added up stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_half(settings, device))
