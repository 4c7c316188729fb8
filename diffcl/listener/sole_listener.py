"""One listener at a time works on a queue: two would segment the same series."""

from __future__ import annotations

from filelock import AcquireReturnProxy, BaseFileLock, FileLock, Timeout

from diffcl.errors import UsageError
from diffcl.listener.queue import Queue

LOOK_AT_MOST = 2.0
"""Seconds for which somebody who asks whether a listener runs may hold its lock."""


def claim(queue: Queue) -> AcquireReturnProxy[BaseFileLock]:
    """Hold a queue for this listener during a `with` block; the end of the process, of whatever kind, lets go of it.

    Raises:
        UsageError: If another listener works on it.
    """
    try:
        return FileLock(queue.folder / ".lock").acquire(timeout=LOOK_AT_MOST)
    except Timeout as error:
        raise UsageError(
            queue.folder, "another listener works on this queue", "Stop it, or name another --queue"
        ) from error


def is_running(queue: Queue) -> bool:
    """Whether a listener works on a queue."""
    try:
        with FileLock(queue.folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True
