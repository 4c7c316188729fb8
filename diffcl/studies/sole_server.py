"""One server at a time works on some studies: two would hand one scan to two people and train beside each other."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from filelock import FileLock, Timeout

from diffcl.errors import UsageError
from diffcl.files import WRITER, make_folder, of_the_disk, remove_leftovers

logger = logging.getLogger(__name__)


class SoleServer:
    """The claim of a server on its studies; the end of its process, of whatever kind, lets go of it.

    Args:
        folder: Where the studies, or what is kept beside an archive, lie; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._folder = folder
        self._lock = FileLock(folder / ".server.lock")

    def claim(self) -> None:
        """Hold the studies until the process ends, and remove what a killed server left half-written in them.

        On a disk that takes nothing now there is nothing to hold.

        Raises:
            UsageError: If another server holds them.
        """
        if self._held():
            writer = hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:16]
            remove_leftovers(self._folder, writer)
            os.environ[WRITER] = writer  # of this process and its children, the next ones to be over

    def check(self) -> None:
        """Refuse studies that another server holds.

        Raises:
            UsageError: If one does.
        """
        self._held()
        self._lock.release()

    def _held(self) -> bool:
        """Take hold of the studies; False on a disk that takes nothing now.

        Raises:
            UsageError: If another server holds them.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                self._folder, "another server works on these studies", "Stop it, or serve another folder"
            ) from error
        except OSError as error:
            if of_the_disk(error) is None:
                raise
            logger.warning(f"{self._folder}: another server would not be noticed ({error.strerror})")
            return False
        return True
