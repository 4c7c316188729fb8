"""Images on their way into their series, acknowledged with one wait for the disk.

    QUEUE/incoming/SERIES_SOP_CRC_N         an image, with its check sum, under the number of its arrival
    QUEUE/receiving/SERIES/images/SOP.dcm   the same file under a second name

An image is acknowledged once it is on the disk in `incoming`. It is linked into its series at once, and leaves
`incoming` together with many others, once those links are on the disk too. What a kill or a power cut leaves in
`incoming` is put into its series at the next start, if its check sum says that it is whole.
"""

from __future__ import annotations

import filecmp
import os
import zlib
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Final

from diffcl.files import not_written, remove, settle
from diffcl.io.dicom.copies import lies_elsewhere
from diffcl.io.dicomweb.entries import is_uid

UNSETTLED: Final = 64
"""Images of a series that may stay in `incoming` before their links are synced. A scanner waits for each answer before
it sends the next image, and a sync of a folder in between costs it as much as that of an image."""


class Arrivals:
    """Takes images into the series of a queue.

    Args:
        folder: Of the queue.
        moving: Held while files of the queue change places.
    """

    def __init__(self, folder: Path, moving: RLock) -> None:
        self._incoming = folder / "incoming"
        self._receiving = folder / "receiving"
        self._moving = moving
        self._numbers = count()
        self._unsettled: dict[str, list[Path]] = {}

    def recover(self) -> None:
        """Put into their series the images that were on the way, in their order, and remove those half-written.

        Raises:
            OutputError: If that cannot be done.
        """
        for left in sorted(self._incoming.iterdir(), key=lambda path: path.name.rpartition("_")[2]):
            series, uid, checksum, _ = (left.name.split("_") + [""] * 4)[:4]
            if is_uid(series) and is_uid(uid) and checksum == _checksum(left.read_bytes()):
                self._put_in_series(left, series, uid)
            else:
                remove(left)
        for series in list(self._unsettled):
            self.settle(series)

    def receive(self, series: str, uid: str, content: bytes) -> None:
        """Keep an image; once this returns, it is on the disk, also if the power fails.

        An image takes the place of one that came before with the same identifier, unless they lie at different
        places: some programs give different slices one identifier.

        Raises:
            OutputError: If it cannot be written.
        """
        number = f"{next(self._numbers):012d}"
        incoming = self._incoming / "_".join((series, uid, _checksum(content), number))
        try:
            incoming.write_bytes(content)
            settle(incoming)
            settle(self._incoming)
        except OSError as error:
            remove(incoming)
            raise not_written(incoming, error) from error
        self._put_in_series(incoming, series, uid)

    def settle(self, series: str) -> None:
        """Sync the names of the images of a series, which then leave `incoming`.

        Raises:
            OutputError: If that cannot be done.
        """
        folder = self._receiving / series / "images"
        with self._moving:
            left = self._unsettled.pop(series, [])
            try:
                for name in (folder, folder.parent, self._receiving) if left else ():
                    settle(name)
                for incoming in left:
                    incoming.unlink(missing_ok=True)
            except OSError as error:
                self._unsettled[series] = left
                raise not_written(folder, error) from error

    def _put_in_series(self, incoming: Path, series: str, uid: str) -> None:
        """Link an image into its series.

        Raises:
            OutputError: If that cannot be done.
        """
        folder = self._receiving / series / "images"
        with self._moving:
            waiting = self._unsettled.setdefault(series, [])
            waiting.append(incoming)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                place = _place_for(folder, uid, incoming)
                place.unlink(missing_ok=True)
                linked = _linked(incoming, place)
            except OSError as error:
                waiting.remove(incoming)
                remove(incoming)
                raise not_written(folder, error) from error
            if not linked or len(waiting) >= UNSETTLED:
                self.settle(series)


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def _linked(incoming: Path, place: Path) -> bool:
    """Whether an image has two names now; where there are no hard links it is moved."""
    try:
        os.link(incoming, place)
    except OSError:
        incoming.replace(place)
        return False
    return True


def _place_for(folder: Path, uid: str, image: Path) -> Path:
    """The name of an image in a folder: that of its identifier, and a number if others share that."""
    place, number = folder / f"{uid}.dcm", 2
    while place.exists() and not filecmp.cmp(place, image, shallow=False) and lies_elsewhere(place, image):
        place, number = folder / f"{uid}-{number}.dcm", number + 1
    return place
