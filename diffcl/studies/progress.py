"""How a training goes: written by the child that trains, read by the server that tells the viewers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from diffcl.errors import OutputError
from diffcl.files import FULL, UNWRITABLE, finite, make_folder, write_text

ENDED = ("done", "failed", "stopped")

DISK_FULL = {
    "status": "failed",
    "message": "Its files cannot be written: the disk is full, or has become read-only. Make space, and train again"
    " with the same options to continue.",
    "epoch": 0,
    "total_epochs": 1,
    "best_metric": 0.0,
    "seconds": 0,
    "total_time": "0:00:00",
}
"""What is told of a training that cannot write any more, not even that. It is written before the disk is full."""


def first_at_work(told: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was told of several tasks: those at work before those that ended, then the last begun first.

    >>> ended, begun = {"status": "done", "start_ts": 7}, {"status": "training", "start_ts": 3}
    >>> list(first_at_work({"heart": {}, "spleen": ended, "liver": begun}))
    ['liver', 'spleen', 'heart']
    """

    def rank(name: str) -> tuple[bool, int]:
        of = told[name]
        return bool(of) and of["status"] not in ENDED, of.get("start_ts", 0)

    return {name: told[name] for name in sorted(told, key=rank, reverse=True)}


class Progress:
    """The state of the last training of a task.

    Viewers read `epoch` (steps done), `total_epochs`, `best_metric` (Dice on the validation scans, 0..1) and
    take `total_time` for the sign that it ended. The rest is for people: `status`, `message`, `seconds_left`, and
    whatever is told; what is told as None is told no more.

    Args:
        folder: Where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "progress.json"
        self._lock = folder / "progress.lock"
        self._disk_full = folder / "progress-disk-full.json"
        self._reading = Lock()
        self._told: dict[str, Any] = {}
        self._began = 0.0

    @contextmanager
    def running(self, steps: int) -> Iterator[None]:
        """A training runs in the block; the end of its process ends it, whatever was told last.

        Waits for another training of the same task.

        Raises:
            OutputError: If the file cannot be written.
            OSError: If a disk that takes nothing has no lock either.
        """
        make_folder(self._file.parent)
        with FileLock(self._lock):
            self._began = time.time()
            self._told = {"epoch": 0, "total_epochs": steps, "best_metric": 0.0, "start_ts": int(self._began)}
            if not self._disk_full.exists():
                write_text(self._disk_full, json.dumps(DISK_FULL, indent=2) + "\n")
            self.tell("preparing", "Reading the scans.")
            yield

    def tell(self, status: str, message: str, **more: Any) -> None:
        """Say how it goes; `ENDED` are the words for its end.

        Raises:
            OutputError: If the file cannot be written; from then on the progress says that.
        """
        seconds = round(time.time() - self._began)
        self._told |= {**more, "status": status, "message": message, "seconds": seconds}
        self._told = {name: value for name, value in self._told.items() if value is not None}
        if status in ENDED:
            self._told["total_time"] = str(timedelta(seconds=seconds))
        try:
            write_text(self._file, json.dumps(finite(self._told), indent=2) + "\n")
        except OutputError:
            with suppress(OSError):  # it was told before
                self._disk_full.replace(self._file)  # which takes no space
            raise

    def read(self) -> dict[str, Any]:
        """What was told last; a training whose process is gone was stopped. Empty where there was none."""
        with self._reading:  # two readers would take each other's look at the lock for a training
            held = self._held()
            try:
                told: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            except (FileNotFoundError, json.JSONDecodeError):
                return {}
        if told["status"] not in ENDED and not held:
            told |= {
                "status": "stopped",
                "message": "Stopped before its end. Train again with the same options to continue it.",
                "total_time": str(timedelta(seconds=told["seconds"])),
            }
        return told

    def _held(self) -> bool:
        """Whether a process still holds the lock; its death, of whatever kind, lets go of it.

        On a disk that takes nothing there is no training either.
        """
        if not self._lock.exists():
            return False
        try:
            with FileLock(self._lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError as error:
            if error.errno not in (*FULL, *UNWRITABLE):
                raise
            return False
