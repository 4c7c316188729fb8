from __future__ import annotations

import errno
import time
from typing import Any

import pytest
from monailabel.utils.async_tasks import utils as async_tasks

from lib import children


def test_a_task_whose_process_cannot_start_has_failed_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("background_tasks", "background_processes", "background_executors"):
        monkeypatch.setattr(async_tasks, name, {})
    monkeypatch.setattr(async_tasks, "_task_func", async_tasks._task_func)  # noqa: SLF001  it is put back
    monkeypatch.setenv("PYTHONPATH", "")
    for _ in range(2):  # also after a second start in one process
        children.end_failed_starts()

    def too_long(*_: Any, **__: Any) -> Any:
        raise OSError(errno.E2BIG, "Argument list too long")

    with monkeypatch.context() as patch:
        patch.setattr(async_tasks.subprocess, "Popen", too_long)
        failed = async_tasks.run_background_task({"model": "organ"}, "train")
        wait_for_the_end(failed)
    assert failed["status"] == "ERROR"
    assert failed["details"] == ["The process could not be started: [Errno 7] Argument list too long"]

    monkeypatch.setattr(async_tasks.sys, "executable", "/bin/echo")
    done = async_tasks.run_background_task({"model": "organ"}, "train")
    wait_for_the_end(done)
    assert done["status"] == "DONE"


def wait_for_the_end(task: dict[str, Any]) -> None:
    deadline = time.monotonic() + 120
    while task["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < deadline:
        time.sleep(0.01)
