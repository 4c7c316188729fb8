"""Series of an archive as they are kept on this machine for a while: downloaded when needed, within bounds.

FOLDER/series/UID/dicom/0001.dcm    the images of a series
FOLDER/series/UID/UID.nrrd          the same as one file, for viewers
FOLDER/labels/UID.nii.gz            a segmentation on the grid of its series, by its SOPInstanceUID
"""

from __future__ import annotations

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
from diffcl.files import replace_file, replace_folder
from diffcl.io import Scan, read_scan, write_image
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicomweb.client import Archive, SeriesEntry
from diffcl.labels import LabelClass
from lib.segmentations import Segmentation

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
        self._archive = archive
        self._limit = limit
        self._turns: dict[str, Lock] = {}

    def dicom(self, entry: SeriesEntry) -> Path:
        """The folder with the images of a series, downloaded unless the same number of them is there.

        Raises:
            ArchiveError: If it cannot be downloaded.
            OutputError: If it cannot be written.
        """
        folder = self._series / entry.uid
        with self._turns.setdefault(entry.uid, Lock()):
            images = folder / "dicom"
            if not _whole(images, entry):
                self._series.mkdir(parents=True, exist_ok=True)
                with replace_folder(folder) as temporary:
                    (temporary / "dicom").mkdir()
                    self._archive.download(entry.study, entry.uid, temporary / "dicom")
                self._make_room(folder)
            _use(folder)
        return images

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
        self._series.mkdir(parents=True, exist_ok=True)
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

    def label(self, found: Segmentation, entry: SeriesEntry, labels: Sequence[LabelClass]) -> Path:
        """A segmentation as a label map on the grid of its series, in a file.

        Args:
            found: The segmentation.
            entry: Its series.
            labels: Classes of its task.

        Raises:
            ArchiveError: If it cannot be downloaded.
            ScanError: If it cannot be used.
        """

        def convert(folder: Path) -> sitk.Image:
            file = folder / "seg.dcm"
            self._archive.download_object(found.study, found.series, found.uid, file)
            with named(f"segmentation {found.uid}"):
                return read_seg(file, read_scan(self.image(entry)), labels)

        return self.keep_label(found.uid, convert)

    def keep_label(self, uid: str, make: Callable[[Path], sitk.Image]) -> Path:
        """The file of a label map, made unless it is there.

        Args:
            uid: SOPInstanceUID of the segmentation.
            make: Makes the label map; it may use the folder that it is given.
        """
        file = self._labels / f"{uid}.nii.gz"
        with self._turns.setdefault(uid, Lock()):
            if not file.exists():
                self._labels.mkdir(parents=True, exist_ok=True)
                with TemporaryDirectory(dir=self._labels, prefix=".") as folder:
                    write_image(make(Path(folder)), file)
            _use(file)
        return file

    def _make_room(self, newest: Path) -> None:
        """Remove what a kill left behind, then what was not used for longest, until it fits."""
        kept = []
        for path in (path for folder in (self._series, self._labels) for path in folder.glob("*")):
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
    return images.is_dir() and entry.images in (None, len(list(images.iterdir())))


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
