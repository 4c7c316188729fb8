"""Results appear whole or not at all: written beside their place, then moved in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from diffcl.errors import OutputError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of `path`, with its suffixes in lower case, that becomes `path` on success.

    A failure of any kind leaves `path` as it was and removes the temporary file.

    Raises:
        OutputError: For every `OSError` in the block: no such folder, not writable, no space left.
    """
    temporary = path.with_name(f".{uuid4().hex}{''.join(path.suffixes[-2:]).lower()}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):  # it was moved, or never there
            temporary.unlink()


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give a new, empty sibling folder that becomes `path` on success, in place of one that was there.

    A failure of any kind leaves `path` as it was and removes the temporary folder.

    Raises:
        OutputError: For every `OSError` in the block.
    """
    temporary = path.with_name(f".{uuid4().hex}")
    former = path.with_name(f".{uuid4().hex}")
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.replace(former)
        temporary.replace(path)
    except OSError as error:
        if former.exists():
            former.replace(path)
        raise not_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def not_written(path: Path, error: OSError) -> OutputError:
    """The error for people behind an `OSError` while writing `path`."""
    return OutputError(
        path,
        f"cannot be written ({error.strerror or type(error).__name__})",
        "Choose a folder that exists, is writable and has space left",
    )
