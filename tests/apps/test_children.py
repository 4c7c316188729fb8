from __future__ import annotations

import errno
import subprocess
import sys
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


def test_a_child_does_not_look_for_cycles_when_it_ends() -> None:
    ends = """
import atexit, gc, sys, types
sys.modules["torch"] = types.ModuleType("torch")
from diffcl.web.children import end_with_the_server
atexit.register(lambda: print(len(gc.get_objects()), gc.get_freeze_count() > 1000))
end_with_the_server()
"""
    ended = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, check=True)
    left, frozen = ended.stdout.split()
    assert int(left) < 100
    assert frozen == "True"
