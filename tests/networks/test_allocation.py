"""Memory that stays with a process while networks compute."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from diffcl.networks.allocation import keeps_freed_memory

FILLED_AND_FREED = """
import resource
import torch
from diffcl.networks.allocation import keeps_freed_memory

def share_asked_for():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 2**20, dtype=torch.uint8)
    asked_for = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return asked_for * resource.getpagesize() / (64 * 2**20)

with keeps_freed_memory():
    with keeps_freed_memory():
        pass
    *_, kept = (share_asked_for() for _ in range(20))
print(kept, share_asked_for())
"""
"""What share of an array of 64 MiB comes from the system page by page, during the block, in which another one has
ended, and after it."""


def test_freed_memory_is_used_again_during_the_block_and_given_back_after_it() -> None:
    # In a process of its own: once an allocation has failed, as in other tests, glibc serves the thread from elsewhere.
    done = subprocess.run(
        [sys.executable, "-c", FILLED_AND_FREED], check=True, capture_output=True, text=True, timeout=120
    )
    kept, given_back = map(float, done.stdout.split())
    assert kept < 0.1
    assert given_back > 0.9


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with keeps_freed_memory():
        assert len(bytearray(2**20)) == 2**20
