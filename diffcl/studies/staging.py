"""Several files of the studies that change together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from diffcl.files import not_written, remove, settle, temporary_beside


class Staging:
    """Files that are written and synced beside their places, before any of them is moved in. See `replace_files`."""

    def __init__(self) -> None:
        self._written: list[tuple[Path, Path]] = []
        self._unwanted: list[Path] = []

    def copy(self, source: Path, path: Path) -> None:
        """Let a copy of a file become `path`.

        Raises:
            OutputError: If it cannot be written.
        """
        self._stage(path, lambda temporary: shutil.copyfile(source, temporary))

    def write(self, path: Path, content: bytes) -> None:
        """Let `path` get that content.

        Raises:
            OutputError: If it cannot be written.
        """
        self._stage(path, lambda temporary: temporary.write_bytes(content))

    def remove(self, path: Path) -> None:
        """Let `path` go, after the others are in place."""
        self._unwanted.append(path)

    def move_in(self) -> None:
        """Move everything in, in the order in which it was written, and sync the folders."""
        for temporary, path in self._written:
            temporary.replace(path)
        for path in self._unwanted:
            path.unlink(missing_ok=True)
        for folder in dict.fromkeys(path.parent for path in (*dict(self._written).values(), *self._unwanted)):
            settle(folder)

    def discard(self) -> None:
        """Remove what was not moved in."""
        for temporary, _ in self._written:
            remove(temporary)

    def _stage(self, path: Path, write: Callable[[Path], object]) -> None:
        temporary = temporary_beside(path)
        try:
            write(temporary)
            settle(temporary)
        except OSError as error:
            remove(temporary)
            raise not_written(path, error) from error
        self._written.append((temporary, path))


@contextmanager
def replace_files(path: Path) -> Iterator[Staging]:
    """Let several files change together, so that a full disk leaves all of them as they were.

    Everything that takes space is written in the block; what follows it are renames. All of it survives a power cut
    once this has returned.

    Args:
        path: What is named if the renames fail.

    Raises:
        OutputError: For every `OSError`.
    """
    staging = Staging()
    try:
        yield staging
        staging.move_in()
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        staging.discard()
