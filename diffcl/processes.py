"""Child processes that end with their parent, however that ends."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from subprocess import Popen
from threading import Thread
from typing import Any

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that a process gets when its parent ends."""


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent ends, also by SIGKILL; where the system is Linux.

    Elsewhere the process has to notice by itself, see `end_with_input`.

    Args:
        parent: Process id of the parent, as the parent itself says; it may have ended already.

    Raises:
        SystemExit: If the parent has ended.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The process that started this one has ended.")


def end_with_input(handle: int) -> None:
    """Let a thread end this process once nobody is left at the other end of a pipe, whatever it does at that moment.

    Args:
        handle: The reading end of the pipe, of which nothing is read here.
    """

    def watch() -> None:
        poll = select.poll()
        poll.register(handle, 0)  # the end is always told
        poll.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=watch, name="parent", daemon=True).start()


def start(command: list[str], **options: Any) -> Popen[bytes]:
    """`Popen`, from a thread that lives as long as this process does.

    For a child that asks to end with its parent ends with the thread that started it.
    """

    def begin() -> Popen[bytes]:
        return Popen(command, **options)

    return _starter(os.getpid()).submit(begin).result()


@cache
def _starter(process: int) -> ThreadPoolExecutor:
    """The thread of a process; one that was forked has none of the threads of the other."""
    return ThreadPoolExecutor(1, f"starts children of {process}")
