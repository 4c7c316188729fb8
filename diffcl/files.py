"""Results appear whole or not at all: written beside their place, then moved in."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from uuid import uuid4

from diffcl.errors import OutputError

STALE_SECONDS = 3600
"""Nobody writes a file for so long; a temporary one that is older belongs to a process that was killed."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.[^/]*)?")


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
    temporary = path.with_name(f".{uuid4().hex}{''.join(path.suffixes[-2:]).lower()}")
    try:
        yield temporary
        if durable:
            _settle(temporary)
        temporary.replace(path)
        if durable:
            _settle(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):  # it was moved, or never there
            temporary.unlink()


@contextmanager
def replace_folder(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a new, empty sibling folder that becomes `path` on success, in place of one that was there.

    A failure of any kind leaves `path` as it was and removes the temporary folder.

    Args:
        path: The folder.
        durable: Whether to wait until it would survive a power cut, for what nobody can make again.

    Raises:
        OutputError: For every `OSError` in the block.
    """
    temporary = path.with_name(f".{uuid4().hex}")
    former = path.with_name(f".{uuid4().hex}")
    try:
        temporary.mkdir()
        yield temporary
        if durable:
            for entry in (*temporary.rglob("*"), temporary):
                _settle(entry)
        if path.exists():
            path.replace(former)
        temporary.replace(path)
        if durable:
            _settle(path.parent)
    except OSError as error:
        if former.exists():
            former.replace(path)
        raise not_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


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


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and in those inside it."""
    for path in [*folder.rglob(".*")]:
        with suppress(OSError):  # its writer lives and is done, or it may not be removed
            if _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def not_written(path: Path, error: OSError) -> OutputError:
    """The error for people behind an `OSError` while writing `path`."""
    return OutputError(
        path,
        f"cannot be written ({error.strerror or type(error).__name__})",
        "Choose a folder that exists, is writable and has space left",
    )


def _settle(path: Path) -> None:
    """Wait until a file is on the disk, or the names in a folder, where the file system can do that."""
    folder = path.is_dir()
    with suppress(OSError) if folder else nullcontext():
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
