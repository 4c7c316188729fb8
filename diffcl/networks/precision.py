"""The number format in which networks compute, and what a processor has for it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What a processor has that computes in bfloat16, by its name for it."""

TILES = "amx_bf16"
"""Instructions that multiply whole tiles of bfloat16 numbers, which is several times as fast as float32 by design."""


def knows_bfloat16() -> bool:
    """Whether this processor has any instructions for bfloat16; they may still be slower than float32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in INSTRUCTIONS)


def excels_in_bfloat16() -> bool:
    """Whether this processor computes convolutions in bfloat16 much faster than in float32, whatever else it does now.

    It depends on the processor alone, so that every process of a machine decides alike, today and tomorrow.
    """
    return bool(torch.cpu.get_capabilities().get(TILES, False))


def computing(device: torch.device, *, half: bool) -> AbstractContextManager[object]:
    """The context in which networks compute; weights, losses and what is added up stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)
