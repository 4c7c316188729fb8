"""Child processes of a server, in which it trains and answers batches."""

from __future__ import annotations

import atexit
import gc
import os
from typing import Final

import torch

from diffcl.processes import end_with_parent

SERVER: Final = "DIFFCL_SERVER_PROCESS"
"""Variable in the environment of a child process with the process id of the server."""


def is_child() -> bool:
    """Whether this is a child process of the server rather than the server itself.

    MONAI Label marks the requests of its children, but a client may send the same mark.
    """
    return os.environ.get(SERVER) != str(os.getpid())


def end_with_the_server() -> None:
    """The end of the server, of whatever kind, ends this process.

    Otherwise nobody could stop a training whose server was killed, and the next one would have to wait for it. And its
    own end is quick: Python would first look for seconds through all that was imported for cycles to free, and its task
    would be told to run.

    Raises:
        SystemExit: If the server has ended.
    """
    end_with_parent(int(os.environ.get(SERVER) or os.getppid()))
    atexit.register(gc.freeze)


def lower_priority() -> None:
    """A training gives way to the server: a lower priority, and it leaves one core alone."""
    os.nice(10)
    torch.set_num_threads(min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) - 1)))
