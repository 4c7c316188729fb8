"""Memory that a training frees stays with it until it ends."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

USUAL = {M_MMAP_MAX: 65_536, M_TRIM_THRESHOLD: 128 * 1024}
"""What glibc has from the start."""

KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}


@contextmanager
def keeps_freed_memory() -> Iterator[None]:
    """During the block freed memory is used again rather than given back to the system; afterwards it is given back.

    Each step of a training frees what the next one needs. From the system it comes page by page, each of them zeroed
    first: of arrays above 32 MiB that is more work than many an operation on them. Helps the main thread, as long
    as no allocation of it has failed: glibc serves others in portions of 64 MiB at most. Does nothing without glibc.
    """
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    for parameter, value in KEEPING.items():
        libc.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
