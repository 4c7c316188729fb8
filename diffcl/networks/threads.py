"""Threads for compiled kernels: as many as torch is set to use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def for_each(work: Callable[..., None], tasks: Iterable[tuple[int, ...]]) -> None:
    """Call `work` with the numbers of every task; `work` must run without Python's lock to gain from it."""
    listed = list(tasks)
    shared = iter(listed)

    def drain() -> None:
        for task in shared:
            work(*task)

    helpers = [_threads().submit(drain) for _ in range(min(torch.get_num_threads(), len(listed)) - 1)]
    drain()
    for helper in helpers:
        helper.result()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernels")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked child has none of its parent's threads
