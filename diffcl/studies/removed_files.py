"""What was removed from a studies folder, or replaced in it, and what nobody else has.

    STUDIES/removed/ID/1.nii.gz         a scan
    STUDIES/removed/ID/2.final.nrrd     a label of it that was put there by hand, and is none of the versions

The numbers count up. Moved back by hand under the name of its scan, a file is served again at once.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from diffcl.errors import FullDiskError
from diffcl.files import make_folder, not_written, settle, temporary_beside

MOST_BYTES: Final = 50 * 10**9
"""Size of all that is kept, beyond which nothing more is removed or replaced until somebody has looked through it."""


class RemovedFiles:
    """Keeps what is about to be removed.

    Args:
        folder: Where; made when needed.
        most_bytes: How large all of it may become.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most = most_bytes

    def keep(self, file: Path, image_id: str, suffix: str) -> None:
        """Let a file stay when its name is removed or taken by another one; on the disk once this returns.

        It takes no space where the file system knows hard links. A file that was kept last is not kept twice.

        Args:
            file: The scan, or the label.
            image_id: The scan's id.
            suffix: What follows its number: that of the file, with the label's tag before it.

        Raises:
            OutputError: If it cannot be kept, or too much has been kept already.
        """
        home = self._folder / image_id
        make_folder(home)
        numbers = {int(path.name.partition(".")[0]): path for path in home.iterdir() if _is_numbered(path)}
        last = numbers.get(max(numbers, default=0))
        try:
            if last and last.name.endswith(suffix) and filecmp.cmp(last, file, shallow=False):
                return
            if self._size() + file.stat().st_size > self._most:
                raise FullDiskError(
                    self._folder,
                    f"more than {self._most >> 20} MiB of removed files",
                    "Let an administrator empty it",
                )
            place = home / f"{max(numbers, default=0) + 1}{suffix}"
            temporary = temporary_beside(place)
            try:
                _link_or_copy(file, temporary)
                temporary.replace(place)
            finally:
                temporary.unlink(missing_ok=True)
            for folder in (home, self._folder, self._folder.parent):
                settle(folder)
        except OSError as error:
            raise not_written(home, error) from error

    def _size(self) -> int:
        """Bytes of all that is kept."""
        total = 0
        for path in self._folder.rglob("*"):
            with suppress(OSError):  # somebody is emptying it
                total += path.lstat().st_size
        return total


def _is_numbered(path: Path) -> bool:
    number = path.name.partition(".")[0]
    return number.isascii() and number.isdigit()


def _link_or_copy(file: Path, place: Path) -> None:
    """The same content under another name; a link stays one, to where it leads."""
    if file.is_symlink():
        place.symlink_to(file.resolve())
        return
    try:
        os.link(file, place)
    except OSError:  # no hard links here, or not across this border
        shutil.copyfile(file, place)
        settle(place)
