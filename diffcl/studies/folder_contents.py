"""What a studies folder has: its scans and labels as they are on the disk, and the index that says so."""

from __future__ import annotations

import filecmp
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diffcl.errors import DiffclError, OutputError
from diffcl.files import make_folder
from diffcl.io.case_files import FIRST, siblings
from diffcl.studies.folder_listing import FolderListing
from diffcl.studies.index import FileEntry, Index, IndexContent, ScanEntry, encoded
from diffcl.studies.label_history import LABEL_SUFFIX, SETTLED_NS, History, stamp
from diffcl.studies.label_tags import FINAL, ORIGINAL
from diffcl.studies.removed_files import RemovedFiles
from diffcl.studies.staging import Staging, replace_files

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""Time between two attempts to put a label in its place for which the disk has no space."""


class FolderContents:
    """What is in a studies folder, looked at whenever something is asked.

    Files may come and go by hand, and other processes may write.

    Args:
        folder: The studies.
        history: The versions of the labels in it.
        several: Tells whether a scan may have several images, `ID_0000.nii.gz`, `ID_0001.nii.gz` and so on; it is then
            known by the first.
    """

    def __init__(self, folder: Path, history: History, several: Callable[[], bool] = lambda: False) -> None:
        self._folder = folder
        self._history = history
        self._several = several
        self._removed = RemovedFiles(folder / "removed")
        self._index = Index(folder)
        self._seen: tuple[int, ...] = ()
        self._history_seen = -1
        self._newest: dict[str, object] = {}
        self._retry_at = 0.0
        self._staging = Staging()
        self._listing = FolderListing()
        with self._index.locked():
            self._content = self._index.read()
        self.refresh()

    def now(self) -> IndexContent:
        """What is there now, never changed once given out."""
        with self._index.locked():
            if not self._seen or self._seen != self._marks():
                self._reconcile()
            if self._history_seen != self._history.changed and time.monotonic() >= self._retry_at:
                self._catch_up()
            return self._content

    def behind(self) -> None:
        """A version of a label is not in its place yet; try again later."""
        self._history_seen = -1
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def refresh(self) -> None:
        """Look at the disk again."""
        with self._index.locked():
            self._reconcile()
            self._catch_up()

    @contextmanager
    def change(self) -> Iterator[IndexContent]:
        """The index as it is on disk, to be changed in the block and then written.

        It and the files that are put and removed in the block change together, after the block.

        Raises:
            OutputError: If it cannot be written; then all of them are as they were.
        """
        with self._index.locked():
            content = self._index.read()
            try:
                with replace_files(self._index.path) as self._staging:
                    yield content
                    self._staging.write(self._index.path, encoded(content))
            finally:
                self._seen = ()

    def put_scan(self, content: IndexContent, image_id: str, suffix: str, file: Path) -> None:
        """Put a copy of a scan where the index says that it is, or would be with another suffix.

        One that was there is kept among the removed ones, unless it is the same. To be used in `change`.

        Raises:
            OutputError: If it cannot be written.
        """
        if image_id in content.objects and (former := self.scan_file(content, image_id)).is_file():
            if not filecmp.cmp(former, file, shallow=False):
                self._removed.keep(former, image_id, content.objects[image_id].image.ext)
            if content.objects[image_id].image.ext != suffix:
                self._staging.remove(former)
        self._staging.copy(file, self.scan_file(content, image_id, suffix))

    def remove_scan(self, content: IndexContent, image_id: str) -> None:
        """Remove a scan, which is kept among the removed ones, and its entry. To be used in `change`.

        Raises:
            OutputError: If it cannot be kept.
        """
        for file in self.scan_files(content, image_id):
            self._removed.keep(file, image_id, file.name.removeprefix(image_id).replace("_", ".", 1))
            self._staging.remove(file)
        del content.objects[image_id]

    def scan_file(self, content: IndexContent, image_id: str, suffix: str | None = None) -> Path:
        """Where a scan is, or would be with another suffix."""
        suffix = content.objects[image_id].image.ext if suffix is None else suffix
        return self._folder / content.images_dir / f"{image_id}{suffix}"

    def scan_files(self, content: IndexContent, image_id: str) -> list[Path]:
        """The files of a scan that are there: one, or several where it has several images."""
        file = self.scan_file(content, image_id)
        if content.objects[image_id].image.ext.startswith(FIRST):
            return siblings(file)
        return [file] if file.is_file() else []

    def label_file(self, content: IndexContent, image_id: str, tag: str) -> Path | None:
        """Where a label is; None where there is none."""
        label = content.label(image_id, tag)
        return self._labels(content, tag) / f"{image_id}{label.ext}" if label else None

    def put_label(
        self, content: IndexContent, image_id: str, tag: str, label: Path | None, record: Mapping[str, Any]
    ) -> None:
        """Put a copy of a label, None for none, where the index then says that it is. To be used in `change`.

        One that was there is kept among the removed ones, unless a model made it or it stands among the versions.

        Raises:
            OutputError: If it cannot be written.
        """
        entry, folder = content.objects[image_id], self._labels(content, tag)
        former = entry.labels.get(tag)
        if former and tag != ORIGINAL:
            file = folder / f"{image_id}{former.ext}"
            copies = [label, self._version_file(image_id, entry) if tag == FINAL else None]
            if file.is_file() and not any(copy and filecmp.cmp(file, copy, shallow=False) for copy in copies):
                self._removed.keep(file, image_id, f".{tag}{former.ext}")
        if label is not None:
            make_folder(folder, durable=True)
            name = f"{image_id}{LABEL_SUFFIX}"
            self._staging.copy(label, folder / name)
            told = self._history.told(image_id) if tag == FINAL else record
            entry.labels[tag] = FileEntry(ext=LABEL_SUFFIX, info={**told, "name": name})
        else:
            entry.labels.pop(tag, None)
        if former and (label is None or former.ext != LABEL_SUFFIX):
            self._staging.remove(folder / f"{image_id}{former.ext}")
        if tag == FINAL:
            entry.image.info["label_version"] = record["version"]

    def _version_file(self, image_id: str, entry: ScanEntry) -> Path | None:
        """What was shown from the version on that was put in its place last; None where there is none."""
        try:
            return self._history.shown(image_id, int(entry.image.info["label_version"]))
        except (KeyError, TypeError, ValueError):
            return None

    def new_entry(self, image_id: str, suffix: str, *, begins: bool = False) -> ScanEntry:
        """The index's entry of a scan that came while others were known, or with which the index begins anew.

        Only in the latter case its versions are surely its own: somebody may have put another scan in its place.
        """
        info = {**stamp(), "name": f"{image_id}{suffix}"}
        newest = {} if begins else self._history.newest(image_id)
        if newest:
            info["label_version"] = newest["version"]
        return ScanEntry(image=FileEntry(ext=suffix, info=info))

    def _catch_up(self) -> None:
        """Put in place what a kill or a full disk left between the versions and the index, or somebody restored.

        A scan whose version cannot be put in place keeps the label that it has.
        """
        try:
            self._put_newest()
        except OutputError as error:
            logger.error(f"The newest labels are not put in place: {error}")
            self.behind()
        if not self._seen:
            self._reconcile()

    def _put_newest(self) -> None:
        """Put the newest versions in their places.

        Raises:
            OutputError: If the index cannot be written.
        """
        self._history_seen = self._history.changed
        behind = {
            image_id: record for image_id in self._content.objects if (record := self._behind(image_id))
        }
        if behind:
            with self.change() as content:
                for image_id, record in behind.items():
                    if image_id not in content.objects:  # a damaged index that cannot be rebuilt now
                        continue
                    try:
                        version = record["version"]
                        label = self._history.shown(image_id, version)
                        if label is None and not record["removed"]:
                            label = self._history.label(image_id, version)
                        self.put_label(content, image_id, FINAL, label, record)
                    except OutputError:
                        raise
                    except DiffclError as error:
                        logger.error(f"The newest label of {image_id} is not put in place: {error}")

    def _behind(self, image_id: str) -> dict[str, Any]:
        """The record of the newest version of a scan that is not in its place; empty where it is.

        Nothing is read of a scan whose versions are those of the last time, if the newest was put in its place.
        """
        mark = self._history.mark(image_id)
        shown = self._content.objects[image_id].image.info.get("label_version")
        if mark is not None and self._newest.get(image_id) == (mark, shown):
            return {}
        record = self._history.newest(image_id)
        self._newest[image_id] = mark, record.get("version")
        return record if record and record["version"] != shown else {}

    def _reconcile(self) -> None:
        """Make the index say what is on disk; the index is locked."""
        with suppress(OutputError):  # what is on the disk can still be seen
            for folder in (
                *(self._labels(self._content, tag) for tag in (FINAL, ORIGINAL)),
                self._folder / self._content.images_dir,
            ):
                make_folder(folder, durable=True)
        marks = self._marks()
        content = self._index.read()
        before = content.model_dump()
        begins = not content.objects
        known = {image_id: entry.image.ext for image_id, entry in content.objects.items()}
        folder = self._folder / content.images_dir
        images = self._listing.scans(folder, known, several=self._several())
        content.objects = {
            image_id: content.objects.get(image_id) or self.new_entry(image_id, suffix, begins=begins)
            for image_id, suffix in sorted(images.items())
        }
        root = self._labels(content, "")
        found = {}
        for tag in self._listing.tags(root):
            known = {
                image_id: entry.labels[tag].ext
                for image_id, entry in content.objects.items()
                if tag in entry.labels
            }
            found[tag] = self._listing.labels(root / tag, known)
        for image_id, entry in content.objects.items():
            entry.image.ext = images[image_id]
            entry.labels = {
                tag: self._label_entry(entry, image_id, tag, files[image_id])
                for tag, files in found.items()
                if image_id in files
            }
        if content.model_dump() != before:
            try:
                self._index.write(content)
            except OutputError as error:  # what is on the disk can still be seen
                logger.error(str(error))
        self._content = content
        settled = time.time_ns() - max(marks) > SETTLED_NS
        self._seen = marks if settled and marks == self._marks() else ()

    def _label_entry(self, entry: ScanEntry, image_id: str, tag: str, suffix: str) -> FileEntry:
        """The index's entry of a label file; one put there by hand gets what the versions know of it."""
        known = entry.labels.get(tag)
        if known and known.ext == suffix:
            return known
        told = self._history.told(image_id) if tag == FINAL else {}
        return FileEntry(ext=suffix, info={**stamp(), **told, "name": f"{image_id}{suffix}"})

    def _labels(self, content: IndexContent, tag: str) -> Path:
        return self._folder / content.labels_dir / tag

    def _marks(self) -> tuple[int, ...]:
        """What changes whenever a file comes, goes or is replaced: times in nanoseconds since 1970."""
        root = self._labels(self._content, "")
        tags = {FINAL, ORIGINAL, *self._content.tags()}
        paths = [
            self._index.path,
            self._history.folder,
            self._folder / self._content.images_dir,
            root,
            *(root / tag for tag in sorted(tags)),
        ]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
