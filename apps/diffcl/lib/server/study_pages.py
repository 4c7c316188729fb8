"""The pages of the study over the app: its studies, models and trainings, in the words of the library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from monailabel.endpoints import train
from monailabel.interfaces.utils.app import app_instance

from diffcl.web.pages.project import Project
from lib.server.endpoints import operations

Run = Callable[..., Awaitable[Any]]
"""Runs one of MONAI Label's handlers."""


def project(run: Run, busy: Callable[[], Collection[str]]) -> Callable[[], Project]:
    """What gives the project that the app serves.

    Args:
        run: Runs the handlers of trainings.
        busy: Gives the tasks of which a training waits or runs.
    """

    async def start(task: str, options: Mapping[str, Any]) -> None:
        await run(train.api_run_model, model=task, params=dict(options), run_sync=False, enqueue=True)

    async def stop() -> None:
        await run(train.api_stop)

    def found() -> Project:
        made: Project = app_instance().project(start, stop)
        return replace(made, tell=operations.tell, busy=busy, unwell=operations.unwell)

    return found
