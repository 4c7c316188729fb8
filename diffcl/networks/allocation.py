"""Memory that networks free stays with the process while they compute."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

USUAL = {M_MMAP_MAX: 65_536, M_TRIM_THRESHOLD: 128 * 1024}
"""What glibc has from the start."""

KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}

_lock = Lock()
_blocks = 0
"""How many blocks keep memory now."""


@contextmanager
def keeps_freed_memory() -> Iterator[None]:
    """During the block freed memory is used again rather than given back to the system; afterwards it is given back.

    Each step of a training, and each window of a prediction, frees what the next one needs. From the system it comes
    page by page, each of them zeroed first: of arrays above 32 MiB that is more work than many an operation on them.
    Helps the main thread, as long as no allocation of it has failed: glibc serves others in portions of 64 MiB at most.
    Blocks may lie within each other, and in several threads; the last one to end gives back. Does nothing without
    glibc.
    """
    global _blocks
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    with _lock:
        _blocks += 1
        if _blocks == 1:
            _set(libc, KEEPING)
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                _set(libc, USUAL)
                libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
