"""Temporary files of a server: in a folder of its own, which goes with it, or with the next start after a kill."""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final
from uuid import uuid4

from diffcl.files import remove

PREFIX: Final = "diffcl-server-"
"""What the name of such a folder begins with, once it is locked."""


def use_own_temporary_folder() -> Path:
    """Let this process and its children make their temporary files in a new folder, which is removed at its end.

    The folders of servers that were killed are removed now. A lock on a folder says that its server lives; the end of
    the process, of whatever kind, lets go of it. Where there is no space for a folder, it stays as it was.
    """
    common = Path(tempfile.gettempdir())
    for former in common.glob(f"{PREFIX}*"):
        if _is_abandoned(former):
            remove(former)
    try:
        folder = Path(tempfile.mkdtemp(prefix="diffcl-", dir=common))
        if _lock(folder) is not None:
            folder = folder.rename(common / f"{PREFIX}{uuid4().hex}")
    except OSError:  # the disk is full; requests that need it are refused, and the others are answered
        return common
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    _at_the_end(folder)
    return folder


def _at_the_end(folder: Path) -> None:
    """Remove a folder when this process ends, also by SIGTERM."""
    owner = os.getpid()

    def clean() -> None:
        if os.getpid() == owner:  # not in what was forked
            remove(folder)

    def end(number: int, _: FrameType | None) -> None:
        clean()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    atexit.register(clean)
    signal.signal(signal.SIGTERM, end)


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder is this user's, and of a process that has ended."""
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
        return False
    handle = _lock(folder)
    if handle is not None:
        os.close(handle)
    return handle is not None


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as the handle is open; None where somebody else has, or the disk knows no locks."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
        else:
            return handle
    return None
