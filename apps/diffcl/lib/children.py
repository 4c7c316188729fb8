"""Tasks of MONAI Label whose child process cannot start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from monailabel.utils.async_tasks import utils as async_tasks

logger = logging.getLogger(__name__)


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
