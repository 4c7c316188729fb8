"""Child processes of MONAI Label, in which it trains and answers batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from monailabel.utils.async_tasks import utils as async_tasks

from diffcl.processes import end_with_parent

logger = logging.getLogger(__name__)

SERVER = "DIFFCL_SERVER_PROCESS"
"""Variable in the environment of a child process with the process id of the server."""


def is_child() -> bool:
    """Whether this is a child process of the server rather than the server itself.

    MONAI Label marks the requests of its children, but a client may send the same mark.
    """
    return os.environ.get(SERVER) != str(os.getpid())


def end_with_the_server() -> None:
    """The end of the server, of whatever kind, ends this process.

    Otherwise nobody could stop a training whose server was killed, and the next one would have to wait for it.

    Raises:
        SystemExit: If the server has ended.
    """
    end_with_parent(int(os.environ.get(SERVER) or os.getppid()))


def lower_priority() -> None:
    """A training gives way to the server: a lower priority, and it leaves one core alone."""
    os.nice(10)
    torch.set_num_threads(min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) - 1)))


def end_failed_starts() -> None:
    """Let a task end whose process cannot start, for want of memory for example.

    MONAI Label leaves it waiting for ever, and every later one of its kind is sent away.
    """
    run = async_tasks._task_func  # noqa: SLF001
    if run.__module__ == async_tasks.__name__:
        async_tasks._task_func = _ending(run)  # noqa: SLF001


def _ending(run: Callable[..., None]) -> Callable[..., None]:
    def run_to_the_end(task: dict[str, Any], method: str, *more: Any) -> None:
        try:
            run(task, method, *more)
        except Exception as error:
            logger.exception("A process could not be started")
            async_tasks.background_processes[method].pop(task["id"], None)
            task.update(status="ERROR", details=[f"The process could not be started: {error}"])

    return run_to_the_end
