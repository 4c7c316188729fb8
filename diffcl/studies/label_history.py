"""Every accepted label of a studies folder, kept as a numbered version of its scan.

    STUDIES/history/ID/1.nii.gz     the label, of one task
    STUDIES/history/ID/1.json       who, when, of which task, from which proposal, what changed
    STUDIES/history/ID/2.json       a version without a label: that of its task was removed, or those of all
    STUDIES/history/ID/3.all.nii.gz     what viewers show from version 3 on, where there are labels of other tasks too
    STUDIES/history/ID/1.review.json    whether somebody approved or flagged it, who and why

Who is `client_id`, as the viewer says, `address`, as the server sees it, and `user`, where one had to log in.
The record is written last, so a version without one was never accepted. The newest version of each task is the scan's
final label for it. What all of them show together is put among the final labels, by a server when it sees that the
folder `history` has changed. `label_info` in a record names the values of what is shown, `classes` those of the label
itself where the two differ, and `shows` the version of each task.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from filelock import FileLock

from diffcl.errors import OutputError, UsageError
from diffcl.files import (
    is_own,
    make_folder,
    not_written,
    read_bytes,
    remove,
    replace_file,
    settle,
    write_text,
)
from diffcl.io.images.write import write_image
from diffcl.io.read import read_label
from diffcl.studies.label_parts import TaskLabel, classes_of, combined
from diffcl.studies.notes import readable
from diffcl.studies.old_versions import forgettable
from diffcl.studies.review import Review, review_of, teaching_version
from diffcl.studies.shown_label import about_shown

LABEL_SUFFIX = ".nii.gz"

SETTLED_NS = 50_000_000
"""A folder changed more recently than this may change again within the resolution of its time stamp."""
DAMAGED_RECORD = "Its record is damaged."

FINAL_LABELS = Path("labels") / "final"
"""Where MONAI Label keeps the final labels of a studies folder."""


class History:
    """The versions of all labels of a studies folder. Several processes may add to it.

    Args:
        folder: Where they are kept; made when needed.
        most: How many versions of a scan are kept, see `diffcl.studies.old_versions`; None for all.
    """

    def __init__(self, folder: Path, most: int | None = None) -> None:
        self.folder = folder
        self._most = most

    @property
    def changed(self) -> int:
        """When a version was last restored, or a scan got its first one; nanoseconds since 1970, 0 for never."""
        return self.folder.stat().st_mtime_ns if self.folder.is_dir() else 0

    def images(self) -> list[str]:
        """The scans that have versions, in alphabetical order."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(folder.name for folder in folders if self._numbers(folder.name))

    def mark(self, image_id: str) -> tuple[int, int] | None:
        """Another value once the versions of a scan or their reviews are others; None while they may still change.

        Time of change of their folder in nanoseconds, and its number in the file system.
        """
        try:
            found = (self.folder / image_id).stat()
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0
        return (found.st_mtime_ns, found.st_ino) if time.time_ns() - found.st_mtime_ns > SETTLED_NS else None

    def versions(self, image_id: str) -> list[dict[str, Any]]:
        """The records of a scan's versions, oldest first."""
        return [record for number in self._numbers(image_id) if (record := self.record(image_id, number))]

    def newest(self, image_id: str) -> dict[str, Any]:
        """The record of a scan's newest version; empty where there is none."""
        records = (self.record(image_id, number) for number in reversed(self._numbers(image_id)))
        return next((record for record in records if record), {})

    def current(self, image_id: str) -> dict[str | None, dict[str, Any]]:
        """The records of the labels that a scan has, by their tasks: the newest version of each, oldest first.

        A label of no known task, None, stands for all tasks until there is a newer one.
        """
        found: dict[str | None, dict[str, Any]] = {}
        for record in self.versions(image_id):
            task = record.get("task")
            if task is None and record.get("remark") != DAMAGED_RECORD:
                found.clear()
            found.pop(task, None)
            found.pop(None, None)
            if not record["removed"]:
                found[task] = record
        return found

    def told(self, image_id: str) -> dict[str, Any]:
        """What is known of the label that viewers are shown, see `about_shown`; empty where there is none."""
        newest = self.newest(image_id)
        if newest and not newest["removed"] and "shows" not in newest:
            return newest
        return about_shown(newest, list(self.current(image_id).values()))

    def shown(self, image_id: str, version: int) -> Path | None:
        """The file that viewers show from a version on: its label, or a map of those of all tasks; None for nothing."""
        folder = self.folder / image_id
        label = folder / f"{version}{LABEL_SUFFIX}"
        return next((file for file in (_map_of(label), label) if is_own(file)), None)

    def label(self, image_id: str, version: int) -> Path:
        """The label file of a version.

        Raises:
            UsageError: If there is no such version, or it records a removal.
        """
        path = self.folder / image_id / f"{version}{LABEL_SUFFIX}"
        if not self.record(image_id, version) or not is_own(path):
            known = ", ".join(str(record["version"]) for record in self.versions(image_id)) or "none"
            raise UsageError(f"label of {image_id}", f"has no version {version}", f"Versions: {known}")
        return path

    def add(self, image_id: str, label: Path | None, record: dict[str, Any]) -> dict[str, Any]:
        """Keep a version.

        Args:
            image_id: The scan.
            label: Its label; None records that the label was removed.
            record: What is known about it, its `task` among that.

        Returns:
            The record with its number.

        Raises:
            OutputError: If it cannot be written.
            DataError: If the labels of the scan have too many classes together.
        """
        folder = self.folder / image_id
        make_folder(folder)
        try:
            if not self._numbers(image_id):
                settle(self.folder)
                settle(self.folder.parent)
            with FileLock(self.folder / ".lock"):
                number = max(self._numbers(image_id), default=0) + 1
                record = {**record, "version": number, "removed": label is None}
                record |= self._show(image_id, label, record)
                self._write(folder, label, record)
        except OSError as error:
            raise not_written(folder, error) from error
        return record

    def _write(self, folder: Path, label: Path | None, record: Mapping[str, Any]) -> None:
        """Write a version, the record last; nothing of one that is refused stays."""
        content, place = folder / f"{record['version']}{LABEL_SUFFIX}", folder / f"{record['version']}.json"
        try:
            if label is not None:
                with replace_file(content, durable=True) as temporary:
                    shutil.copyfile(label, temporary)
            write_text(place, json.dumps(record, indent=2) + "\n", durable=True)
        except OutputError:
            for path in (place, content, _map_of(content)):
                remove(path)
            raise

    def forget(self, image_id: str) -> None:
        """Remove the oldest versions, as far as there are more than are kept; the record first."""
        for number in forgettable(self.versions(image_id), self._most) if self._most else ():
            label = self.folder / image_id / f"{number}{LABEL_SUFFIX}"
            for path in (
                label.with_name(f"{number}.json"),
                label.with_name(f"{number}.review.json"),
                label,
                _map_of(label),
            ):
                remove(path)

    def _show(self, image_id: str, label: Path | None, record: dict[str, Any]) -> dict[str, Any]:
        """Write the map of all tasks that belongs to a version, where there is more than its label to show.

        Returns:
            What its record says of that.
        """
        task, number = record.get("task"), record["version"]
        if task is None:
            return {}
        others = [one for other, one in self.current(image_id).items() if other not in (None, task)]
        if not others:
            return {}
        parts = [
            TaskLabel(one["task"], read_label(self.label(image_id, one["version"])), classes_of(one))
            for one in others
        ]
        if label is not None:
            parts.append(TaskLabel(task, read_label(label), classes_of(record)))
        image, names = combined(parts)
        file = _map_of(self.folder / image_id / f"{number}{LABEL_SUFFIX}")
        write_image(image, file)
        settle(file)
        shows = {one["task"]: one["version"] for one in others}
        shows |= {} if label is None else {task: number}
        return {"label_info": names, "classes": classes_of(record), "shows": shows}

    def review(self, image_id: str, version: int, review: Review) -> None:
        """Keep what somebody said of a version, in place of what was said before.

        Raises:
            OutputError: If it cannot be written.
        """
        path = self.folder / image_id / f"{version}.review.json"
        write_text(path, json.dumps(review.notes(), indent=2) + "\n", durable=True)

    def teaching(self, image_id: str, task: str, *, only_approved: bool = False) -> dict[str, Any]:
        """The record of the version that teaches, see `teaching_version`; empty where there is none.

        Args:
            image_id: The scan.
            task: Name of the task; versions of no known task count as well.
            only_approved: Whether only approved labels teach.
        """
        current = self.current(image_id)
        if task not in current and None not in current:
            return {}
        fitting = [
            record
            for record in self.versions(image_id)
            if not record["removed"] and record.get("task") in (None, task)
        ]
        place = teaching_version([review_of(record) for record in fitting], only_approved=only_approved)
        return {} if place is None else fitting[place]

    def restore(self, image_id: str, version: int) -> dict[str, Any]:
        """Make an older version the newest again, as a new version.

        Returns:
            Its record.

        Raises:
            UsageError: If there is no such version, or it records a removal.
            OutputError: If it cannot be written.
        """
        label, former = self.label(image_id, version), self.record(image_id, version)
        newest = self.current(image_id).get(former.get("task"))
        changed = None if newest is None else _different(label, self.label(image_id, newest["version"]))
        kept = {name: value for name, value in former.items() if name not in ("classes", "shows")}
        found = {
            **kept,
            "label_info": classes_of(former),
            "restored_from": version,
            "changed_voxels": changed,
            **stamp(),
        }
        record = self.add(image_id, label, found)
        os.utime(self.folder)
        return record

    def _numbers(self, image_id: str) -> list[int]:
        folder = self.folder / image_id
        records = folder.glob("*.json") if folder.is_dir() else ()
        return sorted(int(path.stem) for path in records if path.stem.isascii() and path.stem.isdigit())

    def record(self, image_id: str, number: int) -> dict[str, Any]:
        """The record of a version; empty where there is none, of a damaged one what the files say."""
        path = self.folder / image_id / f"{number}.json"
        try:
            record = readable(json.loads(read_bytes(path)))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, RecursionError):
            record = {}
        if record.get("version") == number and isinstance(record.get("removed"), bool):
            return {**record, **self._review(image_id, number)}
        removed = not is_own(path.with_name(f"{number}{LABEL_SUFFIX}"))
        return {**record, "version": number, "removed": removed, "remark": DAMAGED_RECORD}

    def _review(self, image_id: str, number: int) -> dict[str, Any]:
        """What somebody said of a version, as notes; empty where nobody did, or it cannot be understood."""
        try:
            content = json.loads(read_bytes(self.folder / image_id / f"{number}.review.json"))
        except (OSError, ValueError, RecursionError):
            return {}
        return review_of(content).notes() if isinstance(content, dict) else {}


def restore_label(studies: Path, image_id: str, version: int) -> dict[str, Any]:
    """Make an older version the final label of a scan, whether or not a server serves the studies.

    Returns:
        The record of the new version.

    Raises:
        UsageError: If there is no such version, or it records a removal.
        OutputError: If it cannot be written.
    """
    history = History(studies / "history")
    record = history.restore(image_id, version)
    make_folder(studies / FINAL_LABELS)
    final = studies / FINAL_LABELS / f"{image_id}{LABEL_SUFFIX}"
    shown = history.shown(image_id, record["version"]) or history.label(image_id, record["version"])
    with replace_file(final, durable=True) as temporary:
        shutil.copyfile(shown, temporary)
    return record


def _map_of(label: Path) -> Path:
    """Where the map of all tasks is that belongs to a version, by where its label is."""
    return label.with_name(label.name.replace(LABEL_SUFFIX, f".all{LABEL_SUFFIX}"))


def stamp() -> dict[str, Any]:
    """When something was written: seconds since 1970, and the same for people."""
    now = datetime.now(timezone.utc)
    return {"ts": int(now.timestamp()), "time": now.isoformat(timespec="seconds")}


def _different(one: Path, other: Path) -> int | None:
    """Voxels in which two labels differ; None where their sizes do."""
    arrays = [sitk.GetArrayFromImage(read_label(path)) for path in (one, other)]
    return int((arrays[0] != arrays[1]).sum()) if arrays[0].shape == arrays[1].shape else None
