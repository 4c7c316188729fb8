"""Disks that fill up at a chosen write, and disks after a power cut."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

WRITES = {"os.rename": 1, "os.link": 1, "os.symlink": 1, "os.mkdir": 0}
"""Events of Python that change a folder, and which of their arguments is the place."""


class FailingDisk:
    """Lets writes into a folder fail, as the system does.

    What removes something always works, as it does on a disk that is full.

    Attributes:
        writes: How many writes have been asked for.
    """

    def __init__(self) -> None:
        self.writes = 0
        self._folder: Path | None = None
        self._first = self._last = 0
        self._error = 0

    @contextmanager
    def failing(self, folder: Path, first: int, last: int, error: int) -> Iterator[None]:
        """Of the writes into a folder in the block, let those from the first to the last fail; they count from 0."""
        self.writes, self._first, self._last, self._error = 0, first, last, error
        self._folder = folder.resolve()
        try:
            yield
        finally:
            self._folder = None

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python before it does what the event says."""
        if self._folder is None:
            return
        if event == "open":
            path, mode, flags = arguments
            if not (flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or (mode and set(mode) & set("wxa+"))):
                return
        elif event in WRITES:
            path = arguments[WRITES[event]]
        else:
            return
        if isinstance(path, int) or not Path(os.fsdecode(path)).resolve().is_relative_to(self._folder):
            return
        if Path(os.fsdecode(path)).name.endswith(".lock"):
            return
        number, self.writes = self.writes, self.writes + 1
        if self._first <= number <= self._last:
            raise OSError(self._error, os.strerror(self._error), str(path))


FAILING_DISK = FailingDisk()
"""The only one: what Python calls at its events cannot be taken back."""

sys.addaudithook(FAILING_DISK.look)


class PowerCut:
    """Knows what of a folder would be there after a power cut: what was synced, under the names that were synced.

    Everything that is there at the start counts as synced.

    Args:
        folder: The folder.
        monkeypatch: Lets every `os.fsync` be seen.

    Attributes:
        moments: How many syncs there were.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moments = 0
        self._folder = folder
        self._contents: dict[tuple[int, int], bytes] = {}
        self._names: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}
        self._folders: set[tuple[int, int]] = set()
        self._held: dict[tuple[int, int], int] = {}
        self._sync = os.fsync
        for path in (folder, *folder.rglob("*")):
            self._synced(path)
        monkeypatch.setattr(os, "fsync", self._fsync)

    def disk(self, place: Path, *, names_kept: bool = False) -> Path:
        """Make the folder as it would be found.

        Args:
            place: Where.
            names_kept: Whether all names reached the disk by themselves, and only contents did not.
        """
        self._restore(self._folder, _key(self._folder.stat()), place, names_kept=names_kept)
        return place

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._held.values():
            os.close(handle)
        self._held = {}

    def _fsync(self, handle: int) -> None:
        self._sync(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path == self._folder or self._folder in path.parents:
            self._synced(path)
            self.moments += 1

    def _synced(self, path: Path) -> None:
        key = self._hold(path)
        if path.is_dir():
            self._folders.add(key)
            self._names[key] = {entry.name: self._hold(entry) for entry in path.iterdir()}
        else:
            self._contents[key] = path.read_bytes()

    def _hold(self, path: Path) -> tuple[int, int]:
        """The number of a file, which no other one gets from now on."""
        handle = os.open(path, os.O_PATH)
        state = os.fstat(handle)
        key = _key(state)
        if stat.S_ISDIR(state.st_mode):
            self._folders.add(key)
        if key in self._held:
            os.close(handle)
        else:
            self._held[key] = handle
        return key

    def _restore(self, now: Path, key: tuple[int, int], place: Path, *, names_kept: bool) -> None:
        if key not in self._folders:
            place.write_bytes(self._contents.get(key, b""))
            return
        place.mkdir()
        names = dict(self._names.get(key, {}))
        if names_kept:
            names = {}
            with suppress(OSError):
                names = {entry.name: self._hold(entry) for entry in now.iterdir()}
        for name, inside in names.items():
            self._restore(now / name, inside, place / name, names_kept=names_kept)


def _key(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino
