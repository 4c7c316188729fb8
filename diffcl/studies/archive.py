"""Studies in a DICOM archive: its MR and CT series are the scans, its segmentations their labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pydicom
import SimpleITK as sitk

from diffcl.active_learning.scorer import ScansToScore
from diffcl.active_learning.scores import Scorable
from diffcl.errors import GoneError, ScanError
from diffcl.files import make_folder
from diffcl.geometry import Geometry
from diffcl.io import Scan, read_label
from diffcl.io.dicom.seg_write import write_annotation
from diffcl.io.dicomweb.entries import SeriesEntry
from diffcl.studies.agreement import agreement_with_another, author
from diffcl.studies.archive_scans import ArchiveScans, not_here
from diffcl.studies.content_time import date_content
from diffcl.studies.export import write_dataset
from diffcl.studies.label_changes import DRAWN, IN_PART, changed_voxels, record_of_all
from diffcl.studies.label_check import Submission
from diffcl.studies.label_history import LABEL_SUFFIX
from diffcl.studies.label_parts import TaskLabel, combined
from diffcl.studies.label_tags import FINAL, FINAL_OF, task_of
from diffcl.studies.notes import added, checked, of_a_client
from diffcl.studies.protocol import no_label
from diffcl.studies.received_label import label_request
from diffcl.studies.review import FIELD, review_of, teaching_version, with_review
from diffcl.studies.segmentation_parts import Part, listed, newest_of_each, parts_of
from diffcl.studies.shown_label import with_all

logger = logging.getLogger(__name__)

SAMPLE = 200
"""Series without a label that are scored; an archive is not read through for it."""


class ArchiveStudies(ArchiveScans):
    """The studies in a DICOMweb archive, which alone says what there is.

    Of its scans see `ArchiveScans`, which also says what it is made from. The final label of a scan is the newest
    binary segmentation of it by a person, with the classes of a task; older ones stay in the archive. Labels with other
    tags are kept in the folder.
    """

    def labelled(self, task: str | None = None) -> list[str]:
        """The series with a final label."""
        every = self._contents.now().labels
        return [uid for uid in every if task is None or task in self.tasks_of(uid)]

    def waiting(self, task: str | None = None) -> list[str]:
        """The series that wait for a label; those that cannot be used do not wait."""
        series, labelled = self._contents.now().series, {*self.labelled(task)}
        return [uid for uid in series if uid not in labelled and not self._unusable(series[uid])]

    def tags(self, image_id: str) -> list[str]:
        """See `Studies.tags`."""
        view = self._contents.now()
        if image_id not in view.series:
            return []
        return [*self._notes.tags(image_id), *([FINAL] if image_id in view.labels else [])]

    def to_score(self) -> ScansToScore:
        """The series that scores are wanted of: the labelled ones, and a fair sample of those that wait."""
        waiting = sorted(self.waiting(), key=lambda uid: sha256(uid.encode()).digest())
        labelled = self.labelled()
        wanted = [*labelled, *waiting[:SAMPLE]]
        scans = {uid: Scorable(partial(self._state, uid), partial(self._lent, uid)) for uid in wanted}
        return ScansToScore(scans, labelled)

    def label_path(self, image_id: str, tag: str) -> Path | None:
        """A file of the label, downloaded if need be."""
        wanted = task_of(tag)
        if tag != FINAL and wanted is None:
            return self._notes.label(image_id, tag)
        parts = self._parts(image_id)
        if wanted is not None:
            parts = [part for part in parts if part.task.name == wanted]
        if len(parts) < 2:
            return self._file(image_id, parts[0]) if parts else None
        return self._together(image_id, parts)

    def _together(self, image_id: str, parts: Sequence[Part]) -> Path:
        """The file of a map of the labels of several tasks."""

        def make(_: Path) -> sitk.Image:
            labels = [
                TaskLabel(part.task.name, read_label(self._file(image_id, part)), part.classes)
                for part in parts
            ]
            return combined(labels)[0]

        names = " ".join(f"{part.segmentation.uid} {part.task.name}" for part in parts)
        return self._downloads.keep_label(sha256(names.encode()).hexdigest(), make)

    def training_label(self, image_id: str, task: str, *, only_approved: bool = False) -> Path | None:
        """The file of a segmentation; another one has another name."""
        fitting = [part for part in self._all_parts(image_id) if part.task.name == task]
        reviews = [review_of(self._notes.record(part.segmentation.uid)) for part in fitting]
        place = teaching_version(reviews, only_approved=only_approved)
        return None if place is None else self._file(image_id, fitting[place])

    def tasks_of(self, image_id: str) -> list[str]:
        """See `Studies.tasks_of`."""
        return [part.task.name for part in self._parts(image_id)]

    def label_notes(self, image_id: str, tag: str) -> dict[str, Any]:
        """See `Studies.label_notes`; of a final one also all `versions` that there are."""
        wanted = task_of(tag)
        if tag != FINAL and wanted is None:
            return self._notes.label_notes(image_id, tag)
        parts = [part for part in self._parts(image_id) if wanted in (None, part.task.name)]
        every = self._contents.now().labels.get(image_id, [])
        all_of_it = every if wanted is None else every[: parts[-1].number if parts else 0]
        if not all_of_it or not parts:
            return {}
        current, task = parts[-1].segmentation, parts[-1].task
        more: dict[str, Any] = {}
        if len(parts) > 1:
            more = {"label_info": listed(parts), "classes": parts[-1].classes,
                    "shows": {part.task.name: part.number for part in parts}}  # fmt: skip
        found = {
            "name": f"{image_id}{LABEL_SUFFIX}",
            "version": len(all_of_it),
            "versions": [{"SeriesInstanceUID": one.series, "time": one.time, "title": one.title} for one in all_of_it],
            "SeriesInstanceUID": current.series,
            "SOPInstanceUID": current.uid,
            "StudyInstanceUID": current.study,
            "time": current.time,
            "task": task.name,
            "label_info": parts[-1].classes,
            **self._notes.record(current.uid),
            **more,
        }  # fmt: skip
        return with_all(found, [self._about(part) for part in parts])

    def _about(self, part: Part) -> dict[str, Any]:
        """What is known of the label of one task."""
        partly = {DRAWN: IN_PART} if part.partly else {}
        return {**partly, **self._notes.record(part.segmentation.uid), "task": part.task.name}

    def label_versions(self, image_id: str) -> list[dict[str, Any]]:
        """See `Studies.label_versions`; of segmentations by other programs no more than the archive says."""
        return [
            {"time": one.time, "removed": False, **self._notes.record(one.uid), "version": version}
            for version, one in enumerate(self._contents.now().labels.get(image_id, []), start=1)
        ]

    def note_label(self, image_id: str, tag: str, notes: Mapping[str, Any]) -> None:
        """Kept on this machine."""
        where = f"notes on the label of {image_id}"
        wanted = task_of(tag)
        parts = [part for part in self._parts(image_id) if wanted in (None, part.task.name)]
        if (not parts) if wanted else (tag not in self.tags(image_id)):
            self._entry(image_id)
            raise no_label(image_id, tag)
        tag = FINAL if wanted else tag
        notes = with_review(
            of_a_client(checked(notes, f"notes on the label of {image_id}")), f"label of {image_id}"
        )
        if tag == FINAL and parts:
            review = {FIELD: notes[FIELD]} if FIELD in notes else {}
            every = [(part.segmentation.uid, review) for part in parts[:-1]]
            for uid, told in [*every, (parts[-1].segmentation.uid, notes)]:
                added(self._notes.record(uid), told, where)
                self._notes.note_record(uid, told)
        else:
            added(self._notes.label_notes(image_id, tag), notes, where)
            self._notes.note_label(image_id, tag, notes)

    def save_label(self, image_id: str, file: Path, tag: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Studies.save_label`; a final one is stored in the archive, others are kept on this machine."""
        entry = self._entry(image_id)
        with self._saving:
            request = label_request(image_id, tag, params)
            scan = self._downloads.scan(entry)
            about = self._notes.image_notes(image_id).get("proposal")
            received = request.received(
                file,
                Geometry.of(scan.image),
                self._tasks(),
                about,
                lambda: self._notes.proposal(image_id),
            )
            records = []
            for found in received.to_keep(partial(self._former, image_id)):
                record = received.record(found, changed_voxels(self, image_id, found))
                if request.is_final:
                    record["agreement"] = self._agreement(image_id, found, record)
                    record = self._store(entry, scan, found, record)
                else:
                    self._notes.keep(image_id, request.tag, found.label, record)
                records.append(record)
            return record_of_all(records)

    def _agreement(
        self, image_id: str, found: Submission, record: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """How far a label agrees with the newest one of somebody else; None where that is not known or not usable."""
        task = next((task for task in self._tasks() if task.name == found.task), None)
        if task is None:
            return None
        every = self._contents.now().labels.get(image_id, [])
        versions = [
            {**self._notes.record(one.uid), "version": version}
            for version, one in enumerate(every, start=1)
            if one.task([task]) is not None
        ]
        return agreement_with_another(
            found.label, task.labels, author(record), versions,
            lambda other: read_label(self._file(image_id, Part(every[other["version"] - 1], task, other["version"]))),
            image_id,
        )  # fmt: skip

    def remove_label(self, image_id: str, tag: str, by: Mapping[str, str] | None = None) -> None:  # noqa: ARG002
        """Remove a label that is kept on this machine, and the notes on it; nothing records by whom.

        Raises:
            ReadOnlyError: For one in the archive.
        """
        if tag == FINAL or task_of(tag) is not None:
            raise not_here("its labels")
        if self._notes.label(image_id, tag) is None:
            raise no_label(image_id, tag)
        self._notes.remove(image_id, tag)

    def export(self, limit: int | None = None) -> Path:
        """See `Studies.export`; what is missing is downloaded."""
        labelled = (
            ([self.image_path(uid)], label, f"{uid}{LABEL_SUFFIX}")
            for uid in self.labelled()
            if (label := self.label_path(uid, FINAL))
        )
        return write_dataset(self._folder, labelled, limit)

    def visible_series(self) -> dict[str, str]:
        """See `Studies.visible_series`."""
        view = self._contents.now()
        labels = {one.series: one.study for found in view.labels.values() for one in found}
        others = {one.uid: one.study for found in view.others.values() for one in found}
        return labels | others | {uid: entry.study for uid, entry in view.series.items()}

    def status(self) -> dict[str, Any]:
        """How many scans there are, and how many of them have labels."""
        view = self._contents.now()
        tags = self._notes.count_tags(view.series) | ({FINAL: len(view.labels)} if view.labels else {})
        tasks = dict(Counter(task for uid in view.labels for task in self.tasks_of(uid)))
        newest = {uid: self.label_notes(uid, FINAL).get(DRAWN) for uid in view.labels}
        return {
            "total": len(view.series),
            "completed": len(view.labels),
            "label_tags": tags,
            "tasks": tasks,
            "partly_drawn": {uid: drawn for uid, drawn in newest.items() if drawn},
        }

    def content(self, *, older: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """See `Studies.content`; older versions are in the archive alone."""
        return {
            "name": self.name(),
            "description": self.description(),
            "objects": {
                uid: {
                    "image": {"ext": ".nrrd", "info": self.image_notes(uid)},
                    "labels": {
                        tag: {"ext": LABEL_SUFFIX, "info": self.label_notes(uid, tag)}
                        for tag in self.tags(uid)
                    },
                }
                for uid in self.scans()
            },
        }

    def _all_parts(self, image_id: str) -> list[Part]:
        """What every segmentation of a series has of each task, the oldest first."""
        every = self._contents.now().labels.get(image_id, [])
        return parts_of(every, self._tasks(), lambda uid: self._notes.record(uid).get("task"))

    def _parts(self, image_id: str) -> list[Part]:
        """The final labels of a series: the newest part of each task, the oldest first."""
        return newest_of_each(self._all_parts(image_id))

    def _file(self, image_id: str, part: Part) -> Path:
        """The file of the label of one task, downloaded if need be."""
        return self._downloads.label(part.segmentation, self._entry(image_id), part.task)

    def _former(self, image_id: str, task: str) -> sitk.Image | None:
        """The final label for a task; None where there is none, or it cannot be used."""
        try:
            file = self.label_path(image_id, f"{FINAL_OF}{task}")
            return None if file is None else read_label(file)
        except (ScanError, GoneError) as error:  # by other software, and not usable
            logger.warning(f"The former label of {image_id} cannot be compared: {error}")
            return None

    def _store(
        self, entry: SeriesEntry, scan: Scan, found: Submission, record: dict[str, Any]
    ) -> dict[str, Any]:
        """Store a final label in the archive; only then does anything here change."""
        if scan.series is None:
            raise ValueError("a series is read as one")
        tasks = {task.name: task for task in self._tasks()}
        began = record["started_from"] or {}
        task = tasks.get(found.task or str(began.get("task"))) or next(iter(tasks.values()))
        former = self._contents.now().labels.get(entry.uid, [])
        record["version"] = len(former) + 1
        model, number = began.get("model"), began.get("version")
        made_by = (model, number) if isinstance(model, str) and isinstance(number, int) else None
        make_folder(self._folder)
        with TemporaryDirectory(dir=self._folder, prefix=".") as folder:
            file = Path(folder) / "seg.dcm"
            title = f"Label {record['version']}: {task.name}"
            write_annotation(found.label, scan.series, task.labels, file, proposed_by=made_by, title=title)
            header = pydicom.dcmread(file)
            date_content(header, scan.series.headers[0], former[-1].made if former else None)
            header.save_as(file)
            self._archive.store([file])
        record["task"] = task.name
        self._notes.note_record(str(header.SOPInstanceUID), record)
        self._segmentations.remember(header)
        self._downloads.keep_label(str(header.SOPInstanceUID), lambda _: found.label)
        self.refresh()
        return record
