"""Studies in a DICOM archive: its MR and CT series are the scans, its segmentations their labels."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import pydicom
import requests
import SimpleITK as sitk
from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from pydicom.dataset import Dataset

from diffcl.active_learning.scores import Scorable
from diffcl.errors import GoneError, ScanError
from diffcl.files import replace_file
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io import Scan, read_label
from diffcl.io.dicom.seg_write import write_annotation, write_seg
from diffcl.io.dicomweb.client import Archive, Credentials, SeriesEntry
from diffcl.io.fingerprint import State
from diffcl.labels import LabelClass
from diffcl.recipe import Recipe
from diffcl.studies.label_history import LABEL_SUFFIX
from lib.changes import started_from
from lib.contents import Contents
from lib.downloads import Downloads
from lib.http_errors import refusals, unknown
from lib.kept import Kept
from lib.names import check_name
from lib.segmentations import Segmentation, Segmentations
from lib.submission import Proposal, Submission, check_label

FINAL = DefaultLabelTag.FINAL.value
ORIGINAL = DefaultLabelTag.ORIGINAL.value

SAMPLE = 200
"""Series without a label that are scored; an archive is not read through for it."""

NO_FILTER = {"Modality": "CT"}
"""MONAI Label's own default, which hides MR; taken for none."""

CACHE_BYTES = 20_000_000_000
"""How much of the archive is kept on this machine, where nothing else is set."""


class UnusableError(HTTPException):
    """A series that cannot be segmented: a localiser, missing slices and the like."""


class ArchiveDatastore(Datastore):
    """MONAI Label's datastore over a DICOMweb archive. The archive alone says what there is.

    An image is a series, its id the SeriesInstanceUID. Its final label is the newest binary segmentation of it
    by a person, with the classes of a task; older ones stay in the archive. Nothing is downloaded before it is
    needed. Labels with other tags, and what is known of an image beside its header, are kept in the folder.

    Args:
        archive: The archive.
        folder: For what is kept on this machine.
        tasks: Gives the recipes whose classes labels may hold.
        filters: What else the series must match, as in QIDO-RS; `Modality` replaces MR and CT.
        cache_bytes: How much of the archive is kept.
    """

    def __init__(
        self,
        archive: Archive,
        folder: Path,
        tasks: Callable[[], Sequence[Recipe]],
        filters: Mapping[str, Any] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._archive = archive
        self._folder = folder
        self._tasks = tasks
        self._kept = Kept(folder)
        self._downloads = Downloads(folder, archive, cache_bytes)
        self._segmentations = Segmentations(folder / "segmentations", archive)
        self._contents = Contents(archive, self._segmentations, tasks, filters)
        self._saving = Lock()

    def name(self) -> str:
        """Address of the archive."""
        return self._archive.url

    def set_name(self, name: str) -> None:  # noqa: ARG002
        """An archive keeps its name."""
        raise _not_here("its name")

    def description(self) -> str:
        """What it is."""
        return f"DICOMweb {self._archive.where}"

    def set_description(self, description: str) -> None:  # noqa: ARG002
        """An archive keeps its description."""
        raise _not_here("its description")

    def list_images(self) -> list[str]:
        """The SeriesInstanceUIDs."""
        return list(self._contents.now().series)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002
        """The series with a final label."""
        return list(self._contents.now().labels)

    def get_unlabeled_images(
        self,
        label_tag: str | None = None,  # noqa: ARG002
        labels: list[str] | None = None,  # noqa: ARG002
    ) -> list[str]:
        """The series that wait for a label; those that cannot be used do not wait."""
        view = self._contents.now()
        return [uid for uid in view.series if uid not in view.labels and not self._unusable(view.series[uid])]

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """The image's id for each tag of which it has a label."""
        self._entry(image_id)
        final = [FINAL] if image_id in self._contents.now().labels else []
        return dict.fromkeys((*self._kept.tags(image_id), *final), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """The image's id if it has a label of that tag, else nothing."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The content of the image's file."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """A file of the series, downloaded if need be.

        Raises:
            HTTPException: 404 for an unknown series, 422 for one that cannot be used, 502 or 503 if the archive
                fails.
        """
        entry = self._entry(image_id)
        try:
            with refusals():
                return str(self._downloads.image(entry))
        except HTTPException as error:
            if not isinstance(error.__cause__, ScanError):
                raise
            self.update_image_info(image_id, {"unusable": error.detail, "images": entry.images})
            raise UnusableError(error.status_code, error.detail) from error

    def scan_path(self, image_id: str) -> Path:
        """The folder with the images of the series, downloaded if need be; see `get_image_uri`."""
        with refusals():
            return self._downloads.dicom(self._entry(image_id))

    def to_score(self) -> dict[str, Scorable]:
        """The series that scores are wanted of: the labelled ones, and a fair sample of those that wait."""
        waiting = sorted(self.get_unlabeled_images(), key=lambda uid: sha256(uid.encode()).digest())
        wanted = [*self.get_labeled_images(), *waiting[:SAMPLE]]
        return {uid: Scorable(partial(self._state, uid), partial(self._lent, uid)) for uid in wanted}

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What viewers ask about an image, without the patient, and what was added to it."""
        entry = self._entry(image_id)
        return {
            "name": f"{entry.uid}.nrrd",
            "Modality": entry.modality,
            "StudyDate": entry.date,
            "StudyTime": entry.time,
            "StudyInstanceUID": entry.study,
            "SeriesInstanceUID": entry.uid,
            "RetrieveURL": f"{self._archive.url}/studies/{entry.study}/series/{entry.uid}",
            **self._kept.image_notes(image_id),
        }

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known of an image, on this machine.

        Raises:
            HTTPException: 404 for an unknown series.
        """
        self._entry(image_id)
        with refusals():
            self._kept.note_image(image_id, info)

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The content of the label's file."""
        return io.BytesIO(Path(self.get_label_uri(label_id, label_tag)).read_bytes())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """A file of the label on the grid of its series, downloaded if need be; empty for none.

        Raises:
            HTTPException: 422 for a segmentation that cannot be used, 502 or 503 if the archive fails.
        """
        with refusals():
            if label_tag != FINAL:
                return str(self._kept.label(label_id, label_tag) or "")
            found = self._current(label_id)
            task = None if found is None else found.task(self._tasks())
            if found is None or task is None:
                return ""
            return str(self._downloads.label(found, self._entry(label_id), task.labels))

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of a label; of a final one also which of how many it is. Empty for none."""
        if label_tag != FINAL:
            with refusals():
                return self._kept.label_notes(label_id, label_tag)
        all_of_it = self._contents.now().labels.get(label_id)
        if not all_of_it:
            return {}
        current, task = all_of_it[-1], all_of_it[-1].task(self._tasks())
        return {
            "name": f"{label_id}{LABEL_SUFFIX}",
            "version": len(all_of_it),
            "versions": [{"SeriesInstanceUID": one.series, "time": one.time, "title": one.title} for one in all_of_it],
            "SeriesInstanceUID": current.series,
            "SOPInstanceUID": current.uid,
            "StudyInstanceUID": current.study,
            "time": current.time,
            "task": task and task.name,
            "label_info": [{"name": label.name, "idx": label.value} for label in task.labels] if task else [],
            **self._kept.record(current.uid),
        }  # fmt: skip

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known of a label, on this machine.

        Raises:
            HTTPException: 404 for an unknown label.
        """
        if label_tag not in self.get_labels_by_image_id(label_id):
            raise _no_label(label_id, label_tag)
        current = self._current(label_id)
        with refusals():
            if label_tag == FINAL and current is not None:
                self._kept.note_record(current.uid, info)
            else:
                self._kept.note_label(label_id, label_tag, info)

    def keep_proposal(self, image_id: str, label: sitk.Image, about: dict[str, Any]) -> None:
        """Remember what was proposed for a scan; see `StudyDatastore.keep_proposal`."""
        self._entry(image_id)
        with refusals():
            self._kept.keep_proposal(image_id, label)
        self.update_image_info(image_id, {"proposal": about})

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Check a label; a final one is stored in the archive and valid from then on.

        Args:
            image_id: The series.
            label_filename: The received file.
            label_tag: `final`, or any other, which is kept on this machine.
            label_info: The client's params.

        Raises:
            HTTPException: 404 for an unknown series, other 4xx for a label that is refused, 502 or 503 if the
                archive does not take it.
        """
        entry = self._entry(image_id)
        where = f"label of {image_id}"
        with refusals(), self._saving:
            tag = check_name(label_tag, "label tag")
            scan = self._downloads.scan(entry)
            grid = Geometry.of(scan.image)
            about = self._kept.image_notes(image_id).get("proposal")
            about = about if isinstance(about, dict) else None  # clients may write anything in its place
            proposal = self._proposal(image_id, about, grid)
            checked = check_label(Path(label_filename), grid, self._tasks(), label_info, where, proposal)
            record = {
                **label_info,
                "label_info": checked.classes,
                "task": checked.task,
                "remark": checked.remark,
                "changed_voxels": self._changed_voxels(image_id, checked.label),
                "started_from": started_from(about, checked, proposal),
            }
            if tag == FINAL:
                self._store(entry, scan, checked, record)
            else:
                self._kept.keep(image_id, tag, checked.label, record)
        return image_id

    def write_seg(
        self, image_id: str, label: Path, labels: Sequence[LabelClass], made_by: tuple[str, int]
    ) -> Path:
        """Write what a model proposed for a series as a DICOM segmentation beside the file of the label.

        Args:
            image_id: The series.
            label: Label map on its grid.
            labels: Its classes.
            made_by: Name and version of the model.

        Raises:
            HTTPException: 404 for an unknown series, 422 if it cannot be referred to, 502 or 503 if the archive
                fails.
        """
        with refusals():
            series = self._downloads.scan(self._entry(image_id)).series
            if series is None:
                raise ValueError("a series is read as one")
            file = label.with_name(f"{label.name.partition('.')[0]}.dcm")
            name, version = made_by
            write_seg(read_label(label), series, labels, file, model_name=name, model_version=version)
            return file

    def remove_label(self, label_id: str, label_tag: str, by: Mapping[str, str] | None = None) -> None:  # noqa: ARG002
        """Remove a label that is kept on this machine, and the notes on it; nothing records by whom.

        Raises:
            HTTPException: 404 if there is none, 405 for one in the archive.
        """
        if label_tag == FINAL:
            raise _not_here("its labels")
        with refusals():
            if self._kept.label(label_id, label_tag) is None:
                raise _no_label(label_id, label_tag)
            self._kept.remove(label_id, label_tag)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:  # noqa: ARG002
        """Series are sent to the archive, not to the server.

        Raises:
            HTTPException: 405, always.
        """
        raise HTTPException(405, f"{self._archive.where}: takes DICOM series. Send the scan there, not here")

    def remove_image(self, image_id: str) -> None:  # noqa: ARG002
        """Series are deleted in the archive.

        Raises:
            HTTPException: 405, always.
        """
        raise _not_here("its series")

    def datalist(self) -> list[dict[str, Any]]:
        """Files of every labelled series and of its final label, downloaded if need be."""
        return [
            {"image": self.get_image_uri(uid), "label": self.get_label_uri(uid, FINAL)}
            for uid in self.get_labeled_images()
        ]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A ZIP file of the labelled series and their final labels; the next one replaces it.

        Raises:
            HTTPException: 404 if there is none.
        """
        pairs = self.datalist()[: limit_cases or None]
        if not pairs:
            raise HTTPException(404, "studies: no scan has a final label yet")
        path = self._folder / "dataset.zip"
        with refusals(), replace_file(path) as temporary, zipfile.ZipFile(temporary, "w") as packed:
            for pair in pairs:
                packed.write(pair["image"], f"image/{Path(pair['image']).name}")
                packed.write(pair["label"], f"label/{Path(pair['image']).stem}{LABEL_SUFFIX}")
        return str(path)

    def pass_on(
        self, method: str, service: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> requests.Response:
        """The archive's answer to a viewer; see `Archive.pass_on`. What is stored in this way is seen at once.

        Raises:
            HTTPException: 503 if the archive does not answer.
        """
        with refusals():
            answer = self._archive.pass_on(method, service, path, query, headers, body)
        if method == "POST":
            self.refresh()
        return answer

    def visible_series(self) -> dict[str, str]:
        """StudyInstanceUID by SeriesInstanceUID of the scans that are served, and of their labels."""
        view = self._contents.now()
        labels = {one.series: one.study for found in view.labels.values() for one in found}
        return labels | {uid: entry.study for uid, entry in view.series.items()}

    def refresh(self) -> None:
        """Ask the archive again when something is asked next."""
        self._contents.refresh()

    def status(self) -> dict[str, Any]:
        """How many scans there are, and how many of them have labels."""
        view = self._contents.now()
        tags = self._kept.count_tags(view.series) | ({FINAL: len(view.labels)} if view.labels else {})
        return {"total": len(view.series), "completed": len(view.labels), "label_tags": tags}

    def json(self) -> dict[str, Any]:
        """All that is known, in the form of MONAI Label's local datastore."""
        return {
            "name": self.name(),
            "description": self.description(),
            "objects": {
                uid: {
                    "image": {"ext": ".nrrd", "info": self.get_image_info(uid)},
                    "labels": {
                        tag: {"ext": LABEL_SUFFIX, "info": self.get_label_info(uid, tag)}
                        for tag in self.get_labels_by_image_id(uid)
                    },
                }
                for uid in self.list_images()
            },
        }

    def _entry(self, image_id: str) -> SeriesEntry:
        series = self._contents.now().series
        if image_id not in series:
            raise unknown("image", image_id, series)
        return series[image_id]

    def _current(self, image_id: str) -> Segmentation | None:
        return next(reversed(self._contents.now().labels.get(image_id, [])), None)

    def _state(self, image_id: str) -> State:
        """What changes when a series does: its number of images."""
        entry = self._contents.now().series.get(image_id)
        if entry is None:
            raise GoneError(f"series {image_id}", "is not there any more")
        return ((entry.images or 0, 0),)

    @contextmanager
    def _lent(self, image_id: str) -> Iterator[Path]:
        """The folder with the images of a series for the time of the block; see `Downloads.lent`."""
        with self._downloads.lent(self._entry(image_id)) as folder:
            yield folder

    def _unusable(self, entry: SeriesEntry) -> bool:
        """Whether a series could not be used when it was tried, and has not grown since."""
        info = self._kept.image_notes(entry.uid)
        return "unusable" in info and info.get("images") == entry.images

    def _proposal(self, image_id: str, about: dict[str, Any] | None, grid: Geometry) -> Proposal | None:
        """What was last proposed for a scan; without its label where the series has grown since."""
        if not about:
            return None
        image = self._kept.proposal(image_id)
        label = voxels(image) if image is not None and same_grid(Geometry.of(image), grid) else None
        return Proposal(label, str(about.get("task")), about.get("marked") is True)

    def _changed_voxels(self, image_id: str, label: sitk.Image) -> int | None:
        """Voxels that differ from the final label, else the original one; None without either."""
        try:
            file = self.get_label_uri(image_id, FINAL) or self.get_label_uri(image_id, ORIGINAL)
        except HTTPException as error:
            if not isinstance(error.__cause__, ScanError | GoneError):
                raise
            return None  # by other software, and not usable
        former, now = voxels(read_label(Path(file))) if file else None, voxels(label)
        return None if former is None or former.shape != now.shape else int((former != now).sum())

    def _store(self, entry: SeriesEntry, scan: Scan, checked: Submission, record: dict[str, Any]) -> None:
        """Store a final label in the archive; only then does anything here change."""
        if scan.series is None:
            raise ValueError("a series is read as one")
        tasks = {task.name: task for task in self._tasks()}
        began = record["started_from"] or {}
        task = tasks.get(checked.task or str(began.get("task"))) or next(iter(tasks.values()))
        former = self._contents.now().labels.get(entry.uid, [])
        record["version"] = len(former) + 1
        model, number = began.get("model"), began.get("version")
        made_by = (model, number) if isinstance(model, str) and isinstance(number, int) else None
        self._folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._folder, prefix=".") as folder:
            file = Path(folder) / "seg.dcm"
            title = f"Label {record['version']}: {task.name}"
            write_annotation(checked.label, scan.series, task.labels, file, proposed_by=made_by, title=title)
            header = pydicom.dcmread(file)
            if former and former[-1].made >= f"{header.ContentDate}{header.ContentTime}":
                _date_after(header, former[-1])
                header.save_as(file)
            self._archive.store([file])
        self._kept.note_record(str(header.SOPInstanceUID), {**record, "task": task.name})
        self._segmentations.remember(header)
        self._downloads.keep_label(str(header.SOPInstanceUID), lambda _: checked.label)
        self.refresh()


def open_archive(url: str, work: Path, tasks: Callable[[], Sequence[Recipe]]) -> ArchiveDatastore:
    """The archive that the settings of MONAI Label describe; nothing is asked of it yet.

    Args:
        url: Its address.
        work: Folder below which things are kept, where no setting names another.
        tasks: See `ArchiveDatastore`.

    Raises:
        UsageError: If the address is none.
    """
    credentials = Credentials(
        settings.MONAI_LABEL_DATASTORE_USERNAME or settings.MONAI_LABEL_DICOMWEB_USERNAME,
        settings.MONAI_LABEL_DATASTORE_PASSWORD or settings.MONAI_LABEL_DICOMWEB_PASSWORD,
        settings.MONAI_LABEL_DATASTORE_API_KEY,
    )
    prefixes = {
        "qido": settings.MONAI_LABEL_QIDO_PREFIX,
        "wado": settings.MONAI_LABEL_WADO_PREFIX,
        "stow": settings.MONAI_LABEL_STOW_PREFIX,
    }
    archive = Archive(url, credentials, {name: path for name, path in prefixes.items() if path})
    folder = settings.MONAI_LABEL_DATASTORE_CACHE_PATH or settings.MONAI_LABEL_DICOMWEB_CACHE_PATH
    name = re.sub(r"[^\w.-]+", "_", archive.url.partition("://")[2])
    filters = settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER
    if filters == NO_FILTER:
        filters = {}
    return ArchiveDatastore(archive, Path(folder or work / "archive") / name, tasks, filters)


def _not_here(what: str) -> HTTPException:
    return HTTPException(405, f"archive: {what} cannot be changed from here. Use the archive's own program")


def _no_label(image_id: str, tag: str) -> HTTPException:
    return HTTPException(404, f"label of {image_id[:80]}: there is none with the tag {tag[:40]!r}")


def _date_after(header: Dataset, former: Segmentation) -> None:
    """Date a segmentation a second after another, whose maker's clock goes ahead; the newest one counts."""
    later = datetime.strptime(former.made[:14], "%Y%m%d%H%M%S") + timedelta(seconds=1)
    header.ContentDate, header.ContentTime = f"{later:%Y%m%d}", f"{later:%H%M%S}"
