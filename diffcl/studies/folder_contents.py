"""What a studies folder has: its scans and labels as they are on the disk, and the index that says so."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffcl.errors import DiffclError, OutputError
from diffcl.files import make_folder, replace_file
from diffcl.io.formats import scan_name
from diffcl.studies.index import FileEntry, Index, IndexContent, ScanEntry
from diffcl.studies.label_history import LABEL_SUFFIX, SETTLED_NS, History, stamp
from diffcl.studies.notes import unreadable
from diffcl.studies.protocol import FINAL, ORIGINAL

logger = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Formats of scans: those that are one file."""

LABEL_SUFFIXES = (*SUFFIXES, ".seg.nrrd")
"""Formats of labels: the same, and 3D Slicer's own."""


class FolderContents:
    """What is in a studies folder, looked at whenever something is asked.

    Files may come and go by hand, and other processes may write.

    Args:
        folder: The studies.
        history: The versions of the labels in it.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self._folder = folder
        self._history = history
        self._index = Index(folder)
        self._seen: tuple[int, ...] = ()
        self._history_seen = -1
        self._skipped: set[str] = set()
        with self._index.locked():
            self._content = self._index.read()
        self.refresh()

    def now(self) -> IndexContent:
        """What is there now, never changed once given out."""
        with self._index.locked():
            if not self._seen or self._seen != self._marks():
                self._reconcile()
                if self._history_seen != self._history.changed:
                    self._catch_up()
            return self._content

    def refresh(self) -> None:
        """Look at the disk again."""
        with self._index.locked():
            self._reconcile()
            self._catch_up()

    @contextmanager
    def change(self) -> Iterator[IndexContent]:
        """The index as it is on disk, to be changed in the block and then written.

        Raises:
            OutputError: If it cannot be written.
        """
        with self._index.locked():
            content = self._index.read()
            yield content
            self._index.write(content)
            self._seen = ()

    def scan_file(self, content: IndexContent, image_id: str, suffix: str | None = None) -> Path:
        """Where a scan is, or would be with another suffix."""
        suffix = content.objects[image_id].image.ext if suffix is None else suffix
        return self._folder / content.images_dir / f"{image_id}{suffix}"

    def label_file(self, content: IndexContent, image_id: str, tag: str) -> Path | None:
        """Where a label is; None where there is none."""
        label = content.label(image_id, tag)
        return self._labels(content, tag) / f"{image_id}{label.ext}" if label else None

    def put_label(
        self, content: IndexContent, image_id: str, tag: str, label: Path | None, record: Mapping[str, Any]
    ) -> None:
        """Put a copy of a label, None for none, where the index then says that it is.

        Raises:
            OutputError: If it cannot be written.
        """
        entry, folder = content.objects[image_id], self._labels(content, tag)
        former = entry.labels.pop(tag, None)
        if label is not None:
            make_folder(folder)
            name = f"{image_id}{LABEL_SUFFIX}"
            with replace_file(folder / name, durable=True) as temporary:
                shutil.copyfile(label, temporary)
            entry.labels[tag] = FileEntry(ext=LABEL_SUFFIX, info={**record, "name": name})
        if former and (label is None or former.ext != LABEL_SUFFIX):
            (folder / f"{image_id}{former.ext}").unlink(missing_ok=True)
        if tag == FINAL:
            entry.image.info["label_version"] = record["version"]

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
        """Put in place what a kill left between the versions and the index, or somebody restored.

        A scan whose version cannot be put in place keeps the label that it has.
        """
        self._history_seen = self._history.changed
        newest = {image_id: self._history.newest(image_id) for image_id in self._content.objects}
        behind = {
            image_id: record
            for image_id, record in newest.items()
            if record and record["version"] != self._content.objects[image_id].image.info.get("label_version")
        }
        if behind:
            with self.change() as content:
                for image_id, record in behind.items():
                    try:
                        version = record["version"]
                        label = None if record["removed"] else self._history.label(image_id, version)
                        self.put_label(content, image_id, FINAL, label, record)
                    except DiffclError as error:
                        logger.error(f"The newest label of {image_id} is not put in place: {error}")
        if not self._seen:
            self._reconcile()

    def _reconcile(self) -> None:
        """Make the index say what is on disk; the index is locked."""
        for tag in (FINAL, ORIGINAL):
            make_folder(self._labels(self._content, tag))
        marks = self._marks()
        content = self._index.read()
        before = content.model_dump()
        begins = not content.objects
        known = {image_id: entry.image.ext for image_id, entry in content.objects.items()}
        make_folder(self._folder / content.images_dir)
        images = self._listing(self._folder / content.images_dir, known, SUFFIXES)
        content.objects = {
            image_id: content.objects.get(image_id) or self.new_entry(image_id, suffix, begins=begins)
            for image_id, suffix in sorted(images.items())
        }
        root = self._labels(content, "")
        make_folder(root)
        found = {}
        for tag in [entry.name for entry in os.scandir(root) if entry.is_dir()]:
            if not tag.startswith(".") and self._has_a_name(root, tag):
                known = {
                    image_id: entry.labels[tag].ext
                    for image_id, entry in content.objects.items()
                    if tag in entry.labels
                }
                found[tag] = self._listing(root / tag, known, LABEL_SUFFIXES)
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
        record = self._history.newest(image_id) if tag == FINAL else {}
        return FileEntry(ext=suffix, info={**stamp(), **record, "name": f"{image_id}{suffix}"})

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

    def _listing(self, folder: Path, known: Mapping[str, str], suffixes: Sequence[str]) -> dict[str, str]:
        """Id and suffix of every scan or label file of a folder.

        Of files that differ in the suffix only, the known one counts, or the first of `suffixes`.
        """
        found: dict[str, list[str]] = {}
        for entry in os.scandir(folder):
            name = scan_name(Path(entry.name))
            if entry.name.startswith(".") or entry.name[len(name) :].lower() not in suffixes:
                continue
            if _is_file(entry) and self._has_a_name(folder, entry.name):
                found.setdefault(name, []).append(entry.name[len(name) :])
        order = {suffix: rank for rank, suffix in enumerate(suffixes)}
        return {
            name: known[name]
            if known.get(name) in endings
            else min(endings, key=lambda ending: order[ending.lower()])
            for name, endings in found.items()
        }

    def _has_a_name(self, folder: Path, name: str) -> bool:
        """Whether the name of a file can be told to a viewer; the log says once of each that cannot."""
        what = unreadable(name)
        if what and name not in self._skipped:
            self._skipped.add(name)
            logger.warning(f"{folder.name}/{name!r}: is left out, for its name is not UTF-8. Rename it")
        return not what


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself, or a disk that fails
        return False
