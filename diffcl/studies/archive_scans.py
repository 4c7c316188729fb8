"""The scans of studies in a DICOM archive: its MR and CT series, and what is noted and proposed for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import pydicom
import requests
import SimpleITK as sitk

from diffcl.errors import DiffclError, GoneError, ReadOnlyError, ScanError, unknown_name
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.entries import SeriesEntry
from diffcl.io.fingerprint import State
from diffcl.recipe import Recipe
from diffcl.studies.archive_contents import ArchiveContents
from diffcl.studies.archive_notes import ArchiveNotes
from diffcl.studies.downloads import Downloads
from diffcl.studies.notes import added
from diffcl.studies.proposed import Proposed
from diffcl.studies.protocol import Studies
from diffcl.studies.segmentations import Segmentations

logger = logging.getLogger(__name__)

CACHE_BYTES = 20_000_000_000
"""How much of the archive is kept on this machine, where nothing else is set."""


class ArchiveScans(Studies):
    """The part of `ArchiveStudies` that is about scans.

    An image is a series, its id the SeriesInstanceUID. Nothing is downloaded before it is needed. What is known of an
    image beside its header is kept in the folder.

    Args:
        archive: The archive.
        folder: For what is kept on this machine.
        tasks: Gives the recipes whose classes labels may hold.
        filters: What else the series must match, as in QIDO-RS; `Modality` replaces MR and CT.
        cache_bytes: How much of the archive is kept.
    """

    fetching_is_costly = True

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
        self._notes = ArchiveNotes(folder)
        self._downloads = Downloads(folder, archive, cache_bytes)
        self._segmentations = Segmentations(folder / "segmentations", archive)
        self._contents = ArchiveContents(archive, self._segmentations, tasks, filters)
        self._saving = Lock()

    @property
    def delay(self) -> float:
        """See `Studies.delay`; longer where the archive answers slowly."""
        return self._contents.delay

    def name(self) -> str:
        """Address of the archive."""
        return self._archive.url

    def set_name(self, name: str) -> None:  # noqa: ARG002
        """An archive keeps its name."""
        raise not_here("its name")

    def description(self) -> str:
        """What it is."""
        return f"DICOMweb {self._archive.where}"

    def set_description(self, description: str) -> None:  # noqa: ARG002
        """An archive keeps its description."""
        raise not_here("its description")

    def scans(self) -> list[str]:
        """The SeriesInstanceUIDs."""
        return list(self._contents.now().series)

    def patients(self, image_ids: Sequence[str]) -> dict[str, str]:
        """What the headers say; the series are downloaded if need be."""
        found = {}
        for image_id in image_ids:
            file = next(iter(sorted(self._downloads.dicom(self._entry(image_id)).iterdir())))
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"])
            found[image_id] = str(header.get("PatientID") or "").strip()
        return {image_id: patient for image_id, patient in found.items() if patient}

    def image_path(self, image_id: str) -> Path:
        """A file of the series, downloaded if need be."""
        entry = self._entry(image_id)
        try:
            return self._downloads.image(entry)
        except ScanError as error:
            self._notes.note_image(image_id, {"unusable": str(error), "images": entry.images})
            raise

    def scan_path(self, image_id: str) -> Path:
        """The folder with the images of the series, downloaded if need be."""
        return self._downloads.dicom(self._entry(image_id))

    def case_path(self, image_id: str) -> Path:
        """A folder with the images of the series and of the further sequences of its study, downloaded if need be."""
        return self._downloads.case(self._entry(image_id), self._contents.now().others.get(image_id, []))

    def image_notes(self, image_id: str) -> dict[str, Any]:
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
            **self._notes.image_notes(image_id),
        }

    def note_image(self, image_id: str, notes: Mapping[str, Any]) -> None:
        """Kept on this machine."""
        self._entry(image_id)
        added(self._notes.image_notes(image_id), notes, f"notes on {image_id}")
        self._notes.note_image(image_id, notes)

    def add_image(self, image_id: str, file: Path, notes: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Series are sent to the archive, not to the server.

        Raises:
            ReadOnlyError: Always.
        """
        raise ReadOnlyError(self._archive.where, "takes DICOM series", "Send the scan there, not here")

    def remove_image(self, image_id: str) -> None:  # noqa: ARG002
        """Series are deleted in the archive.

        Raises:
            ReadOnlyError: Always.
        """
        raise not_here("its series")

    def keep_proposal(
        self, image_id: str, label: sitk.Image, about: Mapping[str, Any], doubt: sitk.Image | None = None
    ) -> None:
        """Kept on this machine."""
        try:
            self._entry(image_id)
            self._notes.keep_proposal(image_id, label, doubt)
            self.note_image(image_id, {"proposal": dict(about)})
        except (OSError, DiffclError) as error:
            logger.error(f"The proposal for {image_id} is not kept: {error}")

    def proposed(self, image_id: str) -> Proposed:
        """See `Studies.proposed`."""
        self._entry(image_id)
        return self._notes.proposed(image_id)

    def series(self, image_id: str) -> DicomSeries:
        """See `Studies.series`."""
        series = self._downloads.scan(self._entry(image_id)).series
        if series is None:
            raise ValueError("a series is read as one")
        return series

    def pass_on(
        self, method: str, service: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> requests.Response:
        """See `Studies.pass_on`. What is stored in this way is seen at once."""
        answer = self._archive.pass_on(method, service, path, query, headers, body)
        if method == "POST":
            self.refresh()
        return answer

    def refresh(self) -> None:
        """Ask the archive again when something is asked next."""
        self._contents.refresh()

    def _entry(self, image_id: str) -> SeriesEntry:
        series = self._contents.now().series
        if image_id not in series:
            raise unknown_name("image", image_id, series)
        return series[image_id]

    def _state(self, image_id: str) -> State:
        """What changes when a series does: its number of images."""
        view = self._contents.now()
        entry = view.series.get(image_id)
        if entry is None:
            raise GoneError(f"series {image_id}", "is not there any more")
        return tuple((one.images or 0, 0) for one in (entry, *view.others.get(image_id, [])))

    @contextmanager
    def _lent(self, image_id: str) -> Iterator[Path]:
        """The folder with the images of a series for the time of the block; see `Downloads.lent`."""
        tasks = self._tasks()
        if tasks and all(task.sequences for task in tasks):
            yield self.case_path(image_id)
            return
        with self._downloads.lent(self._entry(image_id)) as folder:
            yield folder

    def _unusable(self, entry: SeriesEntry) -> bool:
        """Whether a series could not be used when it was tried, and has not grown since."""
        info = self._notes.image_notes(entry.uid)
        return "unusable" in info and info.get("images") == entry.images


def not_here(what: str) -> ReadOnlyError:
    """What is raised where something of an archive would be changed."""
    return ReadOnlyError("archive", f"{what} cannot be changed from here", "Use the archive's own program")
