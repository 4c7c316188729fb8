"""Results appear whole or not at all: written beside their place, then moved in."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from diffcl.errors import FullDiskError, OutputError, UnwritableError

STALE_SECONDS = 3600
"""Nobody writes a file for so long; a temporary one that is older belongs to a process that was killed."""

WRITER = "DIFFCL_WRITER"
"""Environment variable: what the names of temporary files begin with, up to 16 hexadecimal digits, where somebody
waits to remove what a killed process leaves. Without it nothing tells the files of one process from another's."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.[^/]*)?")
_FORMER = re.compile(r"\.[0-9a-f]{32}\.former\.(.+)")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no space left."""

UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE)
"""What the system says of a disk that takes nothing now, or not from this user."""

_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR)
"""What file systems say that sync no folders."""

_BLOCK = 4096
"""Bytes; with less, nothing more can be written."""

_HERE, _EXCHANGE = -100, 2
"""Arguments of Linux's renameat2: paths count from the working folder, and both names change places."""


def temporary_beside(path: Path) -> Path:
    """A new name in the folder of a file, with its suffixes in lower case."""
    return path.with_name(f".{_token()}{''.join(path.suffixes[-2:]).lower()}")


@contextmanager
def replace_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary sibling of `path`, with its suffixes in lower case, that becomes `path` on success.

    A failure of any kind leaves `path` as it was and removes the temporary file.

    Args:
        path: The file.
        durable: Whether to wait until it would survive a power cut, for what nobody can make again.

    Raises:
        OutputError: For every `OSError` in the block: no such folder, not writable, no space left.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        if durable:
            settle(temporary)
        temporary.replace(path)
        if durable:
            settle(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):  # it was moved, or never there
            temporary.unlink()


@contextmanager
def replace_folder(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a new, empty sibling folder that becomes `path` on success, in place of one that was there.

    A failure of any kind leaves `path` as it was and removes the temporary folder. Both folders change places in one
    step where the system can do that; elsewhere the former one is away for a moment, and what a kill leaves in this
    moment is brought back by the next `replace_folder` of the same path or by `remove_leftovers`.

    Args:
        path: The folder.
        durable: Whether to wait until it would survive a power cut, for what nobody can make again.

    Raises:
        OutputError: For every `OSError` in the block.
    """
    temporary = path.with_name(f".{_token()}")
    try:
        _bring_back(path)
        temporary.mkdir()
        yield temporary
        if durable:
            for entry in (*temporary.rglob("*"), temporary):
                settle(entry)
        if path.exists():
            _change_places(temporary, path)
        else:
            temporary.replace(path)
        if durable:
            settle(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        remove(temporary)


def read_bytes(path: Path) -> bytes:
    """The content of a file that others may have put there; who opens a pipe or a device may wait for ever.

    Raises:
        OSError: If it cannot be read, or is a folder, a pipe, a socket or a device.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - pathlib would wait
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a file", str(path))
        return file.read()


def is_own(path: Path) -> bool:
    """Whether there is a file of a server's own: it writes none that is a link, which could lead to anything."""
    return path.is_file() and not path.is_symlink()


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a UTF-8 text file, whole or not at all; see `replace_file`.

    Raises:
        OutputError: If it cannot be written.
    """
    write_bytes(path, text.encode("utf-8"), durable=durable)


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file, whole or not at all; see `replace_file`.

    Raises:
        OutputError: If it cannot be written.
    """
    with replace_file(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def make_folder(folder: Path, *, durable: bool = False) -> None:
    """Make a folder and those above it.

    Args:
        folder: The folder.
        durable: Whether to wait until those that are new would survive a power cut.

    Raises:
        OutputError: If it cannot be made.
    """
    new = [one for one in (folder, *folder.parents) if durable and not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in new:
            settle(one.parent)
    except OSError as error:
        kind = type(not_written(folder, error))
        raise kind(folder, f"cannot be made ({error.strerror})", "Choose another folder") from error


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that it holds, as far as that is possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, writer: str = "") -> None:
    """Remove what killed processes left half-written in a folder and in those inside it.

    A folder that was about to be replaced when its process was killed comes back.

    Args:
        folder: The folder.
        writer: What processes wrote that are over and had this as their `WRITER` is removed, however new it is.
    """
    for path in [*folder.rglob(".*")]:
        former = _FORMER.fullmatch(path.name)
        with suppress(OSError):  # its writer lives and is done, or it may not be removed
            if former and not path.with_name(former[1]).exists():
                path.replace(path.with_name(former[1]))
            elif _TEMPORARY.fullmatch(path.name) and (_is_of(writer, path) or _is_stale(path)):
                remove(path)


def remove_temporary_files(folder: Path, writer: str = "") -> None:
    """Remove the half-written files that lie in a folder of anybody's, and nothing inside its folders.

    Args:
        folder: The folder; there may be none.
        writer: Only what processes wrote that are over and had this as their `WRITER`; without it, what is so old that
            its process was killed.
    """
    for path in folder.glob(f".{writer}*"):
        with suppress(OSError):  # its writer lives and is done, or it may not be removed
            over = _is_of(writer, path) or _is_stale(path)
            if over and _TEMPORARY.fullmatch(path.name) and path.is_file():
                path.unlink()


def finite(value: Any) -> Any:
    """The value with null for every number that is not finite, which JSON cannot hold and viewers cannot read.

    >>> finite({"score": float("nan"), "list": [1, float("inf")]})
    {'score': None, 'list': [1, None]}
    """
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def exchanged(one: Path, other: Path) -> bool:
    """Let two entries of a file system change places in one step; False where the system cannot do that."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    failed: int = rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return failed == 0


def not_written(path: Path, error: OSError) -> OutputError:
    """The error for people behind an `OSError` while writing `path`.

    >>> not_written(Path("a.nii"), OSError(errno.ENOSPC, "No space left on device")).what
    'cannot be written (No space left on device)'
    """
    kind, why = OutputError, error.strerror or type(error).__name__
    if error.errno is None and _is_full(path):  # numpy says how much of it was written, and not why
        kind, why = FullDiskError, os.strerror(errno.ENOSPC)
    elif error.errno in FULL:
        kind = FullDiskError
    elif error.errno in UNWRITABLE:
        kind = UnwritableError
    return kind(
        path,
        f"cannot be written ({why})",
        "Choose a folder that exists, is writable and has space left",
    )


def _token() -> str:
    """32 hexadecimal digits that nobody else has, the first of them those of `WRITER`."""
    writer = os.environ.get(WRITER, "")
    return writer + uuid4().hex[len(writer) :]


def _is_of(writer: str, path: Path) -> bool:
    return bool(writer) and path.name.startswith(f".{writer}")


def _is_stale(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > STALE_SECONDS


def _is_full(path: Path) -> bool:
    """Whether there is not even space for a block on the disk of a file."""
    try:
        return shutil.disk_usage(path.parent).free < _BLOCK
    except OSError:
        return False


def of_the_disk(error: OSError, where: str | Path = "server") -> OutputError | None:
    """What the system says of a disk that is full or takes nothing now; None for any other error.

    >>> of_the_disk(OSError(2, "No such file or directory")) is None
    True

    Args:
        error: What was raised.
        where: What is named where the error names no file.
    """
    if error.errno not in (*FULL, errno.EROFS):
        return None
    return not_written(Path(error.filename or where), error)


def _change_places(new: Path, path: Path) -> None:
    """Let two folders change places, or at least let `path` never be without one of them after an interrupt."""
    if exchanged(new, path):
        return
    former = path.with_name(f".{_token()}.former.{path.name}")
    try:
        path.replace(former)
        new.replace(path)
    finally:
        _bring_back(path)
    remove(former)


def _bring_back(path: Path) -> None:
    """Put the former folder back where an interrupt left none."""
    if path.exists() or not path.parent.is_dir():
        return
    for entry in path.parent.glob(".*"):
        former = _FORMER.fullmatch(entry.name)
        if former and former[1] == path.name:
            entry.replace(path)
            return


def settle(path: Path) -> None:
    """Wait until a file is on the disk, or the names in a folder, where the file system can do that.

    Raises:
        OSError: If it cannot be written; then it may be gone after a power cut.
    """
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if not folder or error.errno not in _NOT_FOR_FOLDERS:
            raise
