"""Threads for compiled kernels: those of torch, as many as it is set to use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PROCESS = os.getpid()


def for_each(work: Callable[..., None], tasks: Iterable[tuple[int, ...]]) -> None:
    """Call `work` with the numbers of every task; `work` must run without Python's lock to gain from it.

    The threads are those in which torch computes. Between two operations of torch these keep their processors busy
    with waiting for the next one, and would hold up any other threads. Without OpenMP, and in a forked child, which
    has none of its parent's threads, the calling thread does everything.

    Raises:
        BaseException: The first that `work` raised, after all threads have ended; some tasks may not have been done.
    """
    listed = list(tasks)
    shared = iter(listed)
    raised: list[BaseException] = []

    def drain(_: object = None) -> None:
        try:
            for task in shared:
                work(*task)
        except BaseException as failure:  # noqa: BLE001 - none of any kind gets through OpenMP
            raised.append(failure)

    count = min(torch.get_num_threads(), len(listed))
    parallel = _openmp() if count > 1 and os.getpid() == _PROCESS else None
    if parallel is None:
        drain()
    else:
        parallel(_CALLBACK(drain), None, count, 0)
    if raised:
        raise raised[0]


@cache
def _openmp() -> Any:
    """`GOMP_parallel(function, data, threads, flags)` of the OpenMP library that torch uses; None without one."""
    libraries = (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")
    try:
        return ctypes.CDLL(str(next(libraries))).GOMP_parallel
    except (StopIteration, OSError, AttributeError):
        return None
