"""Studies in a folder: scans and labels as files that no upload, crash or second process can hurt."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import SimpleITK as sitk

from diffcl.active_learning.scorer import ScansToScore
from diffcl.active_learning.scores import Scorable
from diffcl.errors import OutputError, ScanError, UsageError
from diffcl.io import read_label, write_image
from diffcl.io.fingerprint import State, state_of
from diffcl.studies.agreement import agreement_with_another, author
from diffcl.studies.export import write_dataset
from diffcl.studies.folder_scans import FolderScans
from diffcl.studies.index import FileEntry, ScanEntry
from diffcl.studies.label_changes import DRAWN, changed_voxels, record_of_all
from diffcl.studies.label_check import Submission
from diffcl.studies.label_history import LABEL_SUFFIX, stamp
from diffcl.studies.label_parts import classes_of
from diffcl.studies.label_tags import FINAL, FINAL_OF, task_of
from diffcl.studies.notes import added, checked, of_a_client, readable
from diffcl.studies.old_versions import number_of, older, tag_of
from diffcl.studies.protocol import no_label
from diffcl.studies.received_label import label_request
from diffcl.studies.review import FIELD, may_teach, review_of, with_review

logger = logging.getLogger(__name__)


class FolderStudies(FolderScans):
    """The studies in a folder, as MONAI Label's local datastore lays them out.

    Of its scans see `FolderScans`, which also says what it is made from. A label is checked before it replaces another,
    and every accepted one is kept.
    """

    def labelled(self, task: str | None = None) -> list[str]:
        """See `Studies.labelled`."""
        return [
            image_id for image_id, entry in self._contents.now().objects.items() if _has_final(entry, task)
        ]

    def waiting(self, task: str | None = None) -> list[str]:
        """See `Studies.waiting`."""
        objects = self._contents.now().objects
        return [image_id for image_id, entry in objects.items() if not _has_final(entry, task)]

    def tags(self, image_id: str) -> list[str]:
        """See `Studies.tags`."""
        entry = self._contents.now().objects.get(image_id)
        return list(entry.labels) if entry else []

    def to_score(self) -> ScansToScore:
        """All scans."""
        content = self._contents.now()
        scans = {}
        for image_id in content.objects:
            file = self._contents.scan_file(content, image_id)
            files = self._contents.scan_files(content, image_id) or [file]
            scans[image_id] = Scorable(partial(_state_of_all, files), partial(_as_it_is, file))
        return ScansToScore(scans, [name for name, entry in content.objects.items() if FINAL in entry.labels])

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
        return file and file.absolute()

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
        """The records of the versions beside the final label, by the tags under which they are shown."""
        objects = self._contents.now().objects
        if image_id not in objects:  # it may be a path, or no name at all
            return {}
        shown = self.history.told(image_id).get("version", 0)
        return {tag_of(record): record for record in older(self.history.versions(image_id), shown)}

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
        """See `Studies.note_label`. Of an older version, or one of one task, a review is kept and nothing else.

        A review of the label that viewers are shown is one of each label in it.
        """
        where, task = f"notes on the label of {image_id}", task_of(tag)
        notes = with_review(of_a_client(checked(notes, where)), f"label of {image_id}")
        if task is not None:
            version = self._current(image_id, task).get("version")
            if version is None:
                raise no_label(image_id, tag)
            reviewed, tag = [version], FINAL
            notes = {FIELD: notes[FIELD]} if FIELD in notes else {}
        elif tag not in self._entry(image_id).labels and tag in self._older(image_id):
            reviewed, tag = [number_of(tag)], FINAL
            notes = {FIELD: notes[FIELD]} if FIELD in notes else {}
        else:
            self._label_entry(image_id, tag)
            shown = self.history.current(image_id).values() if tag == FINAL else ()
            reviewed = [record["version"] for record in shown]
        with self._contents.change() as content:
            if FIELD in notes:
                for version in reviewed:
                    self.history.review(image_id, version, review_of(notes))
            label = content.label(image_id, tag)
            if label is not None:
                told = self.history.told(image_id) if tag == FINAL else {}
                label.info = {**added(label.info, notes, where), **told}
                if told and FIELD not in told:
                    label.info.pop(FIELD, None)

    def save_label(self, image_id: str, file: Path, tag: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Studies.save_label`."""
        about = self._entry(image_id).image.info.get("proposal")
        request = label_request(image_id, tag, params)
        state = state_of(self.image_path(image_id))
        received = request.received(
            file,
            self._grid(image_id),
            self._tasks(),
            about,
            lambda: read_label(self._proposal_file(image_id)),
        )
        with TemporaryDirectory() as temporary, self._saving:
            if state_of(self.image_path(image_id)) != state:
                raise UsageError(f"image {image_id}", "was replaced meanwhile", "Load the scan again")
            label = Path(temporary) / f"label{LABEL_SUFFIX}"
            records = []
            for found in received.to_keep(partial(self._former, image_id)):
                write_image(found.label, label)
                record = received.record(found, changed_voxels(self, image_id, found))
                if request.is_final:
                    record["agreement"] = self._agreement(image_id, found, record)
                records.append(self._keep(image_id, request.tag, label, record))
            return record_of_all(records)

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
                raise no_label(image_id, tag)
            record, tag = {**record, "task": task}, FINAL
        self._label_entry(image_id, tag)
        with self._saving:
            self._keep(image_id, tag, None, record)

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
            "partly_drawn": {
                image_id: drawn
                for image_id, entry in objects.items()
                if FINAL in entry.labels and (drawn := readable(entry.labels[FINAL].info).get(DRAWN))
            },
        }

    def content(self, *, older: bool = True) -> dict[str, Any]:
        """What the index holds, and older versions of final labels, of which the records of all scans are read."""
        found = self._contents.now().model_dump()
        for image_id, entry in found["objects"].items() if older else ():
            if "label_version" in entry["image"]["info"]:
                for tag, record in self._older(image_id).items():
                    info = {**record, "name": f"{image_id}{LABEL_SUFFIX}"}
                    entry["labels"].setdefault(tag, {"ext": LABEL_SUFFIX, "info": info})
        return found

    def export(self, limit: int | None = None) -> Path:
        """STUDIES/dataset.zip, with the notes in `metadata.json`."""
        content = self._contents.now()
        labelled = (
            (
                [self.image_path(image_id), *self._contents.scan_files(content, image_id)[1:]],
                label,
                label.name,
            )
            for image_id, entry in content.objects.items()
            if FINAL in entry.labels and (label := self.label_path(image_id, FINAL))
        )
        return write_dataset(self._folder, labelled, limit, {"metadata.json": content.model_dump_json()})

    def _label_entry(self, image_id: str, tag: str) -> FileEntry:
        labels = self._entry(image_id).labels
        if tag not in labels:
            raise no_label(image_id, tag)
        return labels[tag]

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
        task = next((task for task in self._tasks() if task.name == found.task), None)
        if task is None:
            return None
        versions = [
            other
            for other in self.history.versions(image_id)
            if not other["removed"] and other.get("task") == task.name
        ]
        return agreement_with_another(
            found.label, task.labels, author(record), versions,
            lambda other: read_label(self.history.label(image_id, other["version"])), image_id,
        )  # fmt: skip

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


def _state_of_all(files: Sequence[Path]) -> State:
    """The state of all images of a scan."""
    return tuple(one for file in files for one in state_of(file))


def _as_it_is(file: Path) -> AbstractContextManager[Path]:
    """A file that stays when it is given back."""
    return nullcontext(file)
