"""Waits for processes that should have ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest


def wait_for_the_end_of(process: int, seconds: float = 20) -> None:
    """Fail where a process, of whatever parent, is still at work after some time; it is killed then.

    One that has ended and that nobody has asked about, a zombie, has ended.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    pytest.fail(f"process {process} outlives who started it")
