"""Series of an archive as they are kept on this machine for a while: downloaded when needed, within bounds.

FOLDER/series/UID/dicom/0001.dcm    the images of a series
FOLDER/series/UID/UID.nrrd          the same as one file, for viewers
FOLDER/series/UID/received.json     how many images came, where the archive had announced another number
FOLDER/cases/UID/OTHER/0001.dcm     the images of all sequences of a scan that has several, the same files
FOLDER/labels/UID.nii.gz            a segmentation on the grid of its series, by its SOPInstanceUID
FOLDER/labels/UID.TASK.nii.gz       the same of one task, of a segmentation with segments of several
FOLDER/labels/DIGEST.nii.gz         what several segmentations show together
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import numpy as np
import SimpleITK as sitk

from diffcl.errors import named
from diffcl.files import make_folder, replace_file, replace_folder, write_text
from diffcl.io import Scan, read_scan, write_image
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.entries import SeriesEntry
from diffcl.recipe import Recipe
from diffcl.studies.segmentations import Segmentation

logger = logging.getLogger(__name__)

RECEIVED = "received.json"

ENOUGH_TIMES = 2
"""A series of which so many downloads in a row gave the same number of images has no more of them."""

HELD_SECONDS = 3600
"""What was used within this time stays, however full it is: somebody may be reading it."""


class Downloads:
    """What was downloaded from an archive. Safe in threads; several processes may share the folder.

    Args:
        folder: Where it is kept; made when needed.
        archive: Where it comes from.
        limit: Bytes kept; what was not used for longest goes first.
    """

    def __init__(self, folder: Path, archive: Archive, limit: int) -> None:
        self._series = folder / "series"
        self._labels = folder / "labels"
        self._cases = folder / "cases"
        self._archive = archive
        self._limit = limit
        self._turns: dict[str, Lock] = {}

    def dicom(self, entry: SeriesEntry) -> Path:
        """The folder with the images of a series, downloaded unless all of them are there.

        That is the number that the archive announces, or what it has sent twice in spite of that.

        Raises:
            ArchiveError: If it cannot be downloaded.
            OutputError: If it cannot be written.
        """
        folder = self._series / entry.uid
        with self._turns.setdefault(entry.uid, Lock()):
            images = folder / "dicom"
            if not _whole(images, entry):
                make_folder(self._series)
                before = _received(folder, entry)
                with replace_folder(folder) as temporary:
                    (temporary / "dicom").mkdir()
                    count = self._archive.download(entry.study, entry.uid, temporary / "dicom")
                    if entry.images not in (None, count):
                        times = before["times"] + 1 if before.get("count") == count else 1
                        logger.warning(f"series {entry.uid}: {count} images came of {entry.images} announced")
                        received = {"announced": entry.images, "count": count, "times": times}
                        write_text(temporary / RECEIVED, json.dumps(received))
                self._make_room(folder)
            _use(folder)
        return images

    def case(self, entry: SeriesEntry, others: Sequence[SeriesEntry]) -> Path:
        """A folder with a folder for each sequence of a scan, downloaded if need be; made anew when another one comes.

        Raises:
            ArchiveError: If one cannot be downloaded.
            OutputError: If it cannot be written.
        """
        folder, every = self._cases / entry.uid, [entry, *others]
        images = {one.uid: self.dicom(one) for one in every}
        with self._turns.setdefault(f"case {entry.uid}", Lock()):
            wanted = {Path(uid, file.name) for uid, place in images.items() for file in place.iterdir()}
            if {file.relative_to(folder) for file in folder.glob("*/*")} != wanted:
                make_folder(self._cases)
                with replace_folder(folder) as temporary:
                    for uid, place in images.items():
                        (temporary / uid).mkdir()
                        for file in place.iterdir():
                            os.link(file, temporary / uid / file.name)
            _use(folder)
        return folder

    @contextmanager
    def lent(self, entry: SeriesEntry) -> Iterator[Path]:
        """The folder with the images of a series for the time of the block; what was not there before goes again.

        Raises:
            ArchiveError: If it cannot be downloaded.
            OutputError: If it cannot be written.
        """
        images = self._series / entry.uid / "dicom"
        if _whole(images, entry):
            _use(images.parent)
            yield images
            return
        make_folder(self._series)
        with TemporaryDirectory(dir=self._series, prefix=".") as temporary:
            self._archive.download(entry.study, entry.uid, Path(temporary))
            yield Path(temporary)

    def scan(self, entry: SeriesEntry) -> Scan:
        """A series, read.

        Raises:
            ArchiveError: If it cannot be downloaded.
            ScanError: If it cannot be used.
        """
        with named(f"series {entry.uid}"):
            return read_scan(self.dicom(entry), series_uid=entry.uid)

    def image(self, entry: SeriesEntry) -> Path:
        """A series as one file; see `scan`."""
        folder = self.dicom(entry).parent
        file = folder / f"{entry.uid}.nrrd"
        if not file.exists():
            image = self.scan(entry).image
            with replace_file(file) as temporary:  # not compressed, for that takes longer than all the rest
                sitk.WriteImage(_smallest(image), temporary, useCompression=False)
        _use(folder)
        return file

    def label(self, found: Segmentation, entry: SeriesEntry, task: Recipe) -> Path:
        """What a segmentation has of a task as a label map on the grid of its series, in a file.

        Args:
            found: The segmentation.
            entry: Its series.
            task: The task, or one of several, whose classes its segments are.

        Raises:
            ArchiveError: If it cannot be downloaded.
            ScanError: If it cannot be used.
        """

        def convert(folder: Path) -> sitk.Image:
            file = folder / "seg.dcm"
            self._archive.download_object(found.study, found.series, found.uid, file)
            with named(f"segmentation {found.uid}"):
                return read_seg(file, read_scan(self.image(entry)), task.labels, others=not whole)

        whole = found.task([task]) is not None
        return self.keep_label(found.uid if whole else f"{found.uid}.{task.name}", convert)

    def keep_label(self, uid: str, make: Callable[[Path], sitk.Image]) -> Path:
        """The file of a label map, made unless it is there.

        Args:
            uid: SOPInstanceUID of the segmentation, or what else stands for the content.
            make: Makes the label map; it may use the folder that it is given.
        """
        file = self._labels / f"{uid}.nii.gz"
        with self._turns.setdefault(uid, Lock()):
            if not file.exists():
                make_folder(self._labels)
                with TemporaryDirectory(dir=self._labels, prefix=".") as folder:
                    write_image(make(Path(folder)), file)
            _use(file)
        return file

    def _make_room(self, newest: Path) -> None:
        """Remove what a kill left behind, then what was not used for longest, until it fits."""
        kept = []
        for path in (
            path for folder in (self._series, self._labels, self._cases) for path in folder.glob("*")
        ):
            with suppress(FileNotFoundError):  # another process makes room as well
                age = time.time() - path.stat().st_mtime
                if not path.name.startswith("."):
                    kept.append((age, path, _size(path)))
                elif age > HELD_SECONDS:
                    _remove(path)
        total = sum(size for _, _, size in kept)
        for age, path, size in sorted(kept, reverse=True):
            if total <= self._limit or age < HELD_SECONDS or path == newest:
                break
            _remove(path)
            total -= size


def _whole(images: Path, entry: SeriesEntry) -> bool:
    """Whether a folder has all images of a series."""
    if not images.is_dir():
        return False
    count = len(list(images.iterdir()))
    received = _received(images.parent, entry)
    return entry.images in (None, count) or (
        received.get("count") == count and received["times"] >= ENOUGH_TIMES
    )


def _received(folder: Path, entry: SeriesEntry) -> dict[str, int]:
    """What is known of a series of which another number of images came than the archive still announces."""
    try:
        received = json.loads((folder / RECEIVED).read_bytes())
        found = {key: int(received[key]) for key in ("announced", "count", "times")}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return found if found["announced"] == entry.images else {}


def _smallest(image: sitk.Image) -> sitk.Image:
    """The image with 16-bit whole numbers where it has no others: half the size."""
    values = sitk.GetArrayViewFromImage(image)
    whole = np.abs(values).max() < 2**15 and bool((values == np.rint(values)).all())
    return sitk.Cast(image, sitk.sitkInt16) if whole else image


def _use(path: Path) -> None:
    """Mark as used now."""
    os.utime(path)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
