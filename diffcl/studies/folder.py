"""Studies in a folder: scans and labels as files that no upload, crash or second process can hurt."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any
from zipfile import ZipFile

import requests
import SimpleITK as sitk

from diffcl.active_learning.scorer import ScansToScore
from diffcl.active_learning.scores import Scorable
from diffcl.data.patients import patients_in_file
from diffcl.errors import (
    DataError,
    DiffclError,
    NotFoundError,
    OutputError,
    ScanError,
    UsageError,
    named,
    unknown_name,
)
from diffcl.files import make_folder, remove, remove_leftovers, replace_file
from diffcl.geometry import Geometry, same_grid
from diffcl.io import read_label, read_scan, scan_name, write_image
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.fingerprint import state_of
from diffcl.io.formats import image_suffix
from diffcl.io.isolated import read_scan_isolated
from diffcl.recipe import Recipe
from diffcl.studies.agreement import agreement, author
from diffcl.studies.folder_contents import SUFFIXES, FolderContents
from diffcl.studies.index import FileEntry, ScanEntry
from diffcl.studies.label_changes import changed_voxels, joined, label_record, new_parts, proposal_of
from diffcl.studies.label_check import Submission, check_label
from diffcl.studies.label_history import LABEL_SUFFIX, History, classes_of, stamp
from diffcl.studies.names import check_name
from diffcl.studies.notes import added, checked, readable
from diffcl.studies.old_versions import number_of, older, tag_of
from diffcl.studies.proposed import DOUBT_SUFFIX, Proposed, keep_proposed, read_proposed
from diffcl.studies.protocol import FINAL, FINAL_OF, Studies, check_submitted, task_of
from diffcl.studies.review import FIELD, may_teach, review_of, with_review

logger = logging.getLogger(__name__)

NO_ARCHIVE = "a folder of files"


class FolderStudies(Studies):
    """The studies in a folder, as MONAI Label's local datastore lays them out.

    What is on disk is looked at whenever something is asked, so files may come and go by hand and other
    processes may write. All that is written is written beside its place and moved in; a label is checked
    before it replaces another, and every accepted one is kept.

    Args:
        folder: The studies; made if missing.
        tasks: Gives the recipes whose classes labels may hold.
        most_versions: How many versions of each final label are kept; None for all.

    Attributes:
        history: The versions of the final labels.

    Raises:
        OutputError: If the folder cannot be made.
    """

    fetching_is_costly = False

    def __init__(
        self, folder: Path, tasks: Callable[[], Sequence[Recipe]], most_versions: int | None = None
    ) -> None:
        make_folder(folder)
        remove_leftovers(folder)
        self.history = History(folder / "history", most_versions)
        self._folder = folder
        self._proposals = folder / "proposals"
        self._tasks = tasks
        self._saving = Lock()
        self._contents = FolderContents(folder, self.history)

    def name(self) -> str:
        """What the index says, `studies` at first."""
        return self._contents.now().name

    def set_name(self, name: str) -> None:
        """See `Studies.set_name`."""
        checked({"name": name}, "name")
        with self._contents.change() as content:
            content.name = name

    def description(self) -> str:
        """What the index says."""
        return self._contents.now().description

    def set_description(self, description: str) -> None:
        """See `Studies.set_description`."""
        checked({"description": description}, "description")
        with self._contents.change() as content:
            content.description = description

    def scans(self) -> list[str]:
        """The names of the files, without their suffixes."""
        return list(self._contents.now().objects)

    def labelled(self, task: str | None = None) -> list[str]:
        """See `Studies.labelled`."""
        return [
            image_id for image_id, entry in self._contents.now().objects.items() if _has_final(entry, task)
        ]

    def waiting(self, task: str | None = None) -> list[str]:
        """See `Studies.waiting`."""
        objects = self._contents.now().objects
        return [image_id for image_id, entry in objects.items() if not _has_final(entry, task)]

    def patients(self, image_ids: Sequence[str]) -> dict[str, str]:
        """What `patients.csv` says."""
        known = patients_in_file(self._folder)
        return {image_id: known[image_id] for image_id in image_ids if image_id in known}

    def tags(self, image_id: str) -> list[str]:
        """See `Studies.tags`."""
        entry = self._contents.now().objects.get(image_id)
        return list(entry.labels) if entry else []

    def image_path(self, image_id: str) -> Path:
        """The file of the scan."""
        content = self._contents.now()
        if image_id not in content.objects:
            raise NotFoundError(f"image {image_id[:80]}", "not there, or not any more")
        return Path(os.path.realpath(self._contents.scan_file(content, image_id)))

    def scan_path(self, image_id: str) -> Path:
        """The same file."""
        return self.image_path(image_id)

    def to_score(self) -> ScansToScore:
        """All scans."""
        content = self._contents.now()
        files = {image_id: self._contents.scan_file(content, image_id) for image_id in content.objects}
        scans = {
            image_id: Scorable(partial(state_of, file), partial(_as_it_is, file))
            for image_id, file in files.items()
        }
        return ScansToScore(scans, [name for name, entry in content.objects.items() if FINAL in entry.labels])

    def image_notes(self, image_id: str) -> dict[str, Any]:
        """The notes and the `path` of the file, from which a viewer on this machine reads it."""
        return {**readable(self._entry(image_id).image.info), "path": str(self.image_path(image_id))}

    def note_image(self, image_id: str, notes: Mapping[str, Any]) -> None:
        """See `Studies.note_image`."""
        self._entry(image_id)
        checked(notes, f"notes on {image_id}")
        with self._contents.change() as content:
            if image_id in content.objects:
                image = content.objects[image_id].image
                image.info = added(image.info, notes, f"notes on {image_id}")

    def add_image(self, image_id: str, file: Path, notes: Mapping[str, Any]) -> str:
        """See `Studies.add_image`."""
        image_id = check_name(image_id or scan_name(file), "image id")
        notes = checked(notes, f"notes on {image_id}")
        suffix = image_suffix(file) or ""
        if suffix not in SUFFIXES:
            raise ScanError(f"scan {image_id}", "not a format for scans", f"Send {', '.join(SUFFIXES)}")
        with named(f"scan {image_id}"):
            grid = Geometry.of(read_scan_isolated(file).image)
        with self._saving:
            known = self._contents.now().objects.get(image_id)
            if known and known.labels and not same_grid(grid, self._grid(image_id)):
                raise DataError(f"scan {image_id}", "has labels, and the new scan lies on another grid",
                                "Upload it under another name")  # fmt: skip
            with self._contents.change() as content:
                self._contents.put_scan(content, image_id, suffix, file)
                new = self._contents.new_entry(image_id, suffix)
                entry = content.objects.setdefault(image_id, new)
                entry.image.ext = suffix
                entry.image.info.update({**notes, **stamp(), "name": f"{image_id}{suffix}"})
        return image_id

    def remove_image(self, image_id: str) -> None:
        """See `Studies.remove_image`."""
        for tag in self._entry(image_id).labels:
            self.remove_label(image_id, tag)
        with self._contents.change() as content:
            if image_id in content.objects:
                self._contents.remove_scan(content, image_id)
        remove(self._proposal_file(image_id))
        remove(self._proposals / f"{image_id}{DOUBT_SUFFIX}")

    def label_path(self, image_id: str, tag: str) -> Path | None:
        """The file that lies in the folder of the tag; for one task or an older version, that among the kept ones."""
        task = task_of(tag)
        if task is not None:
            record = self._current(image_id, task)
            if "version" not in record:
                return self.label_path(image_id, FINAL) if record else None
            return self.history.label(image_id, record["version"])
        file = self._contents.label_file(self._contents.now(), image_id, tag)
        if file is None and tag in (shown := self._older(image_id)):
            file = self.history.label(image_id, shown[tag]["version"])
        return file and Path(os.path.realpath(file))

    def training_label(self, image_id: str, task: str, *, only_approved: bool = False) -> Path | None:
        """The version among the kept ones; the file in the folder of final labels where it was put there by hand."""
        info = self.label_notes(image_id, FINAL)
        if isinstance(info.get("version"), int):
            record = self.history.teaching(image_id, task, only_approved=only_approved)
            return self.history.label(image_id, record["version"]) if record else None
        if not info or info.get("task") not in (None, task):
            return None
        teaches = may_teach(review_of(info), only_approved=only_approved)
        return self.label_path(image_id, FINAL) if teaches else None

    def label_notes(self, image_id: str, tag: str) -> dict[str, Any]:
        """See `Studies.label_notes`."""
        task = task_of(tag)
        if task is not None:
            record = self._current(image_id, task)
            return {**record, "label_info": classes_of(record)} if record else {}
        label = self._contents.now().label(image_id, tag)
        return readable(label.info) if label else self._older(image_id).get(tag, {})

    def _older(self, image_id: str) -> dict[str, dict[str, Any]]:
        """The records of the versions before the final label, by the tags under which they are shown."""
        known = image_id in self._contents.now().objects  # any other id may be a path, or no name at all
        return {tag_of(record): record for record in older(self.history.versions(image_id))} if known else {}

    def label_versions(self, image_id: str) -> list[dict[str, Any]]:
        """See `Studies.label_versions`."""
        return self.history.versions(image_id)

    def versions_mark(self, image_id: str) -> object:
        """See `Studies.versions_mark`."""
        return self.history.mark(image_id)

    def tasks_of(self, image_id: str) -> list[str]:
        """See `Studies.tasks_of`."""
        return _tasks_of(self.label_notes(image_id, FINAL))

    def note_label(self, image_id: str, tag: str, notes: Mapping[str, Any]) -> None:
        """See `Studies.note_label`. Of an older version, or one of one task, a review is kept and nothing else."""
        task = task_of(tag)
        if task is not None:
            version = self._current(image_id, task).get("version")
            if version is None:
                raise _no_label(image_id, tag)
            newest = version == self.label_notes(image_id, FINAL).get("version")
            tag = FINAL if newest else tag_of({"version": version})
        notes = with_review(checked(notes, f"notes on the label of {image_id}"), f"label of {image_id}")
        if tag not in self._entry(image_id).labels and tag in self._older(image_id):
            if FIELD in notes:
                self.history.review(image_id, number_of(tag), review_of(notes))
            return
        self._label_entry(image_id, tag)
        with self._contents.change() as content:
            label = content.label(image_id, tag)
            if label:
                record = self.history.newest(image_id) if tag == FINAL else {}
                if record and FIELD in notes:
                    self.history.review(image_id, record["version"], review_of(notes))
                    record = self.history.newest(image_id)
                label.info = {**added(label.info, notes, f"notes on the label of {image_id}"), **record}

    def keep_proposal(
        self, image_id: str, label: sitk.Image, about: Mapping[str, Any], doubt: sitk.Image | None = None
    ) -> None:
        """Kept as STUDIES/proposals/ID.nii.gz, and the doubt beside it."""
        try:
            self._proposals.mkdir(exist_ok=True)
            keep_proposed(self._proposals, image_id, label, doubt)
            self.note_image(image_id, {"proposal": dict(about)})
        except (OSError, DiffclError) as error:
            logger.error(f"The proposal for {image_id} is not kept: {error}")

    def proposed(self, image_id: str) -> Proposed:
        """See `Studies.proposed`."""
        self._entry(image_id)
        return read_proposed(self._proposals, image_id)

    def save_label(self, image_id: str, file: Path, tag: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Studies.save_label`."""
        self._entry(image_id)
        check_submitted(tag)
        where = f"label of {image_id}"
        tag = check_name(tag, "label tag")
        params = with_review(checked(params, where), where)
        state = state_of(self.image_path(image_id))
        grid, tasks = self._grid(image_id), self._tasks()
        about = self._entry(image_id).image.info.get("proposal")
        proposal = proposal_of(about, lambda: read_label(self._proposal_file(image_id)), grid)
        with named(where):
            parts: Sequence[Submission] = check_label(file, grid, tasks, params, where, proposal)
        with TemporaryDirectory() as temporary, self._saving:
            if state_of(self.image_path(image_id)) != state:
                raise UsageError(f"image {image_id}", "was replaced meanwhile", "Load the scan again")
            parts = new_parts(parts, partial(self._former, image_id)) if tag == FINAL else [joined(parts)]
            label = Path(temporary) / f"label{LABEL_SUFFIX}"
            records = []
            for found in parts:
                write_image(found.label, label)
                changed = changed_voxels(self, image_id, found)
                record = label_record(params, found, about, proposal, changed)
                if tag == FINAL:
                    record["agreement"] = self._agreement(image_id, found, record)
                records.append(self._keep(image_id, tag, label, record))
            stored = {str(record["task"]): record.get("version") for record in records}
            return {**records[-1], "stored": stored} if len(records) > 1 else records[-1]

    def restore_label(self, image_id: str, version: int) -> None:
        """Make an older version the final label again, as a new version.

        Raises:
            NotFoundError: For an unknown scan.
            UsageError: For an unknown version, or one that records a removal.
        """
        self._entry(image_id)
        with self._saving:
            self.history.restore(image_id, version)
        self._contents.refresh()

    def remove_label(self, image_id: str, tag: str, by: Mapping[str, str] | None = None) -> None:
        """See `Studies.remove_label`; of one task, its label alone."""
        record = checked(by or {}, f"label of {image_id}")
        task = task_of(tag)
        if task is not None:
            if "version" not in self._current(image_id, task):
                raise _no_label(image_id, tag)
            record, tag = {**record, "task": task}, FINAL
        self._label_entry(image_id, tag)
        with self._saving:
            self._keep(image_id, tag, None, record)

    def series(self, image_id: str) -> DicomSeries:  # noqa: ARG002
        """Scans that are files are no series.

        Raises:
            DataError: Always.
        """
        raise DataError("dicom_seg", f"the studies are {NO_ARCHIVE}", "Serve a DICOM archive")

    def pass_on(self, *_: Any, **__: Any) -> requests.Response:
        """There is no archive.

        Raises:
            NotFoundError: Always.
        """
        raise NotFoundError("studies", NO_ARCHIVE, "OHIF needs a DICOM archive, see docs/dicom.md")

    def visible_series(self) -> dict[str, str]:
        """There is no archive.

        Raises:
            NotFoundError: Always.
        """
        raise NotFoundError("studies", NO_ARCHIVE, "OHIF needs a DICOM archive, see docs/dicom.md")

    def refresh(self) -> None:
        """Look at the disk again."""
        self._contents.refresh()

    def status(self) -> dict[str, Any]:
        """See `Studies.status`."""
        objects = self._contents.now().objects
        tags = Counter(tag for entry in objects.values() for tag in entry.labels)
        finals = [entry.labels[FINAL] for entry in objects.values() if FINAL in entry.labels]
        return {
            "total": len(objects),
            "completed": tags[FINAL],
            "label_tags": {tag: tags[tag] for tag in tags if tags[tag]},
            "tasks": dict(Counter(task for entry in finals for task in _tasks_of(readable(entry.info)))),
        }

    def content(self) -> dict[str, Any]:
        """What the index holds, and older versions of final labels under tags of their own."""
        found = self._contents.now().model_dump()
        for image_id, entry in found["objects"].items():
            if "label_version" in entry["image"]["info"]:
                for tag, record in self._older(image_id).items():
                    info = {**record, "name": f"{image_id}{LABEL_SUFFIX}"}
                    entry["labels"].setdefault(tag, {"ext": LABEL_SUFFIX, "info": info})
        return found

    def export(self, limit: int | None = None) -> Path:
        """STUDIES/dataset.zip, with the notes in `metadata.json`."""
        content = self._contents.now()
        labelled = [name for name, entry in content.objects.items() if FINAL in entry.labels]
        if not labelled:
            raise NotFoundError("studies", "no scan has a final label yet")
        path = self._folder / "dataset.zip"
        with replace_file(path) as temporary, ZipFile(temporary, "w") as packed:
            for image_id in labelled[: limit if limit and limit > 0 else None]:
                scan, label = self.image_path(image_id), self.label_path(image_id, FINAL)
                if label:
                    packed.write(scan, f"image/{scan.name}")
                    packed.write(label, f"label/{label.name}")
            packed.writestr("metadata.json", content.model_dump_json())
        return path

    def _entry(self, image_id: str) -> ScanEntry:
        objects = self._contents.now().objects
        if image_id not in objects:
            raise unknown_name("image", image_id, objects)
        return objects[image_id]

    def _label_entry(self, image_id: str, tag: str) -> FileEntry:
        labels = self._entry(image_id).labels
        if tag not in labels:
            raise _no_label(image_id, tag)
        return labels[tag]

    def _grid(self, image_id: str) -> Geometry:
        return Geometry.of(read_scan(self.image_path(image_id)).image)

    def _proposal_file(self, image_id: str) -> Path:
        return self._proposals / f"{image_id}{LABEL_SUFFIX}"

    def _current(self, image_id: str, task: str) -> dict[str, Any]:
        """The record of the final label for a task; empty where there is none.

        One that was put there by hand has no version, and counts for all tasks.
        """
        notes = self.label_notes(image_id, FINAL)
        if isinstance(notes.get("version"), int):
            current = self.history.current(image_id)
            return current.get(task) or current.get(None) or {}
        return notes if notes.get("task") in (None, task) else {}

    def _former(self, image_id: str, task: str) -> sitk.Image | None:
        """The final label for a task; None where there is none, or it is damaged."""
        file = self.label_path(image_id, f"{FINAL_OF}{task}")
        try:
            return None if file is None else read_label(file)
        except ScanError as error:
            logger.warning(f"The former label of {image_id} cannot be compared: {error}")
            return None

    def _agreement(
        self, image_id: str, found: Submission, record: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """How far a label agrees with the newest one of somebody else; None where nobody else outlined the scan."""
        others = [
            other
            for other in self.history.versions(image_id)
            if not other["removed"] and author(other) != author(record) and other.get("task") == found.task
        ]
        task = next((task for task in self._tasks() if task.name == found.task), None)
        if task is None or not others:
            return None
        try:
            label = read_label(self.history.label(image_id, others[-1]["version"]))
        except (ScanError, UsageError) as error:
            logger.warning(f"The labels of {image_id} cannot be compared: {error}")
            return None
        return agreement(found.label, label, task.labels, others[-1])

    def _keep(self, image_id: str, tag: str, label: Path | None, record: Mapping[str, Any]) -> dict[str, Any]:
        """Put a label in its place, None for none; a final one after it stands among the versions.

        Once it stands there it counts, so it is not refused for want of space for the copy of it.
        """
        record = {**record, **stamp()}
        version: dict[str, Any] = {}
        try:
            with self._contents.change() as content:
                if image_id not in content.objects:
                    raise UsageError(f"image {image_id}", "was removed meanwhile", "Ask for the next scan")
                if tag == FINAL:
                    record = version = self.history.add(image_id, label, record)
                    label = self.history.shown(image_id, version["version"])
                if not version or self.history.newest(image_id)["version"] == version["version"]:
                    self._contents.put_label(content, image_id, tag, label, record)
        except OutputError as error:
            if not version:
                raise
            logger.error(
                f"Version {version['version']} of {image_id} is kept, and not in its place yet: {error}"
            )
            self._contents.behind()
        if version:
            self.history.forget(image_id)
        return record


def _no_label(image_id: str, tag: str) -> NotFoundError:
    return NotFoundError(f"label of {image_id}", f"there is none with the tag {tag[:40]!r}")


def _has_final(entry: ScanEntry, task: str | None) -> bool:
    """Whether a scan has a final label, for a task if one is named; one of no known task counts for each."""
    label = entry.labels.get(FINAL)
    if label is None or task is None:
        return label is not None
    known = _tasks_of(readable(label.info))
    return task in known or not known


def _tasks_of(notes: Mapping[str, Any]) -> list[str]:
    """The tasks of a final label by what is known of it."""
    shows = notes.get("shows")
    found = list(shows) if isinstance(shows, dict) else [notes.get("task")]
    return [task for task in found if isinstance(task, str)]


def _as_it_is(file: Path) -> AbstractContextManager[Path]:
    """A file that stays when it is given back."""
    return nullcontext(file)
