"""Memory that stays with a training."""

from __future__ import annotations

import ctypes
import resource

import pytest
import torch

from diffcl.training.allocation import keeps_freed_memory

MIB = 2**20


def pages_asked_for(mib: int) -> int:
    """Page faults of an array that is filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(mib * MIB, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_is_used_again_during_the_block_and_given_back_after_it() -> None:
    with keeps_freed_memory():
        *_, kept = (pages_asked_for(64) for _ in range(5))
    whole = 64 * MIB / resource.getpagesize()
    assert kept < 0.1 * whole
    assert pages_asked_for(64) > 0.9 * whole


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with keeps_freed_memory():
        assert pages_asked_for(1) >= 0
