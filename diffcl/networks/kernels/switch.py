"""The one switch between compiled kernels and the plain definitions that stand beside them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from threading import Event, Lock
from typing import Final

import torch

from diffcl.errors import UsageError

logger = logging.getLogger(__name__)

SETTING: Final = "DIFFCL_KERNELS"
"""Environment variable: `off` has everything computed by definition, `on` is as if it were not set."""

Trial = Callable[[torch.dtype, bool], None]
"""Computes a few numbers of a type with a kernel, backward too if so wanted."""

_failed = Event()
_lock = Lock()


def kernels_compute(trial: Trial, dtype: torch.dtype) -> bool:
    """Whether a kernel shall compute: it is not switched off, and compiles here.

    The trial is made once for each type, and once more where gradients are recorded, for that is when numba compiles.
    After one that fails, no kernel is used any more; the log says so once.

    Args:
        trial: Of this kernel; not asked again.
        dtype: Type of the numbers.

    Raises:
        UsageError: If the environment variable has a value without a meaning.
    """
    setting = os.environ.get(SETTING, "on")
    if setting not in ("on", "off"):
        raise UsageError(f"{SETTING}={setting}", "has no such value", "Set it to on or off")
    if setting == "off" or _failed.is_set():
        return False
    return _works(trial, dtype, torch.is_grad_enabled())


@cache
def _works(trial: Trial, dtype: torch.dtype, gradients: bool) -> bool:
    try:
        trial(dtype, gradients)
    except Exception as error:  # noqa: BLE001 - a compiler that does not fit raises anything
        with _lock:
            if not _failed.is_set():
                _failed.set()
                reason = (str(error).strip().splitlines() or [""])[0]
                logger.warning(
                    "the compiled kernels do not work here (%s: %s), so everything is computed by the slower "
                    "plain definitions; %s=off does that without this warning",
                    type(error).__name__, reason, SETTING,
                )  # fmt: skip
        return False
    return True
