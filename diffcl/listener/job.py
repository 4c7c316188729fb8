"""A series in the queue of the listener: its files, and what is known of it.

    PLACE/UID/images/SOP.dcm    the images that were received, UID being the SeriesInstanceUID
    PLACE/UID/earlier/SOP.dcm   those that were segmented before the others came
    PLACE/UID/*.dcm             the results, to be sent
    PLACE/UID/job.json          what is known of it

PLACE is the part of the queue that it is in, see `diffcl.listener.queue`.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, Final

from diffcl.files import write_text

FIRST_WAIT: Final = 10.0
"""Seconds before something is tried again; each further wait is twice as long."""

LONGEST_WAIT: Final = 600.0
"""Seconds; no wait is longer."""


class Job:
    """A series in the queue.

    Attributes:
        folder: Where it is now.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def uid(self) -> str:
        """Its SeriesInstanceUID."""
        return self.folder.name

    @property
    def state(self) -> str:
        """Which part of the queue it is in."""
        return self.folder.parent.name

    @property
    def images(self) -> Path:
        """Folder of the images that were received."""
        return self.folder / "images"

    @property
    def earlier(self) -> Path:
        """Folder of the images that were segmented before those came that are in `images`."""
        return self.folder / "earlier"

    @property
    def count(self) -> int:
        """How many images it has."""
        return sum(1 for folder in (self.images, self.earlier) for _ in folder.glob("*.dcm"))

    @property
    def results(self) -> list[Path]:
        """The objects to be sent."""
        return sorted(self.folder.glob("*.dcm"))

    def forget_earlier(self) -> None:
        """Leave out the images that came earlier: those that came since are a series of their own."""
        shutil.rmtree(self.earlier, ignore_errors=True)

    def notes(self) -> dict[str, Any]:
        """What is known of it."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def note(self, **more: Any) -> None:
        """Add to what is known of it."""
        write_text(self.folder / "job.json", json.dumps({**self.notes(), **more}))

    def begin(self) -> int:
        """Count an attempt before it is made, so that one that kills the process counts; which one it is."""
        attempts = int(self.notes().get("attempts", 0)) + 1
        wait = min(FIRST_WAIT * 2.0 ** (attempts - 1), LONGEST_WAIT)
        self.note(attempts=attempts, not_before=time.time() + wait)
        return attempts
