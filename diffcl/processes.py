"""Child processes that end with their parent, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that a process gets when its parent ends."""


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent ends, also by SIGKILL; where the system is Linux.

    Elsewhere the process has to notice by itself, by the end of its input for example.

    Args:
        parent: Process id of the parent, as the parent itself says; it may have ended already.

    Raises:
        SystemExit: If the parent has ended.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The process that started this one has ended.")
