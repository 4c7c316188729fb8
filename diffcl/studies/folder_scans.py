"""The scans of studies in a folder: files, and what is noted and proposed for them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import requests
import SimpleITK as sitk

from diffcl.data.patients import patients_in_file
from diffcl.errors import DataError, DiffclError, NotFoundError, ScanError, UsageError, named, unknown_name
from diffcl.files import make_folder, remove, remove_leftovers
from diffcl.geometry import Geometry, same_grid
from diffcl.io import read_scan, scan_name
from diffcl.io.case_files import FIRST
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.formats import image_suffix
from diffcl.io.read import read_scans
from diffcl.recipe import Recipe
from diffcl.studies.folder_contents import FolderContents
from diffcl.studies.folder_listing import SUFFIXES
from diffcl.studies.index import ScanEntry
from diffcl.studies.label_history import LABEL_SUFFIX, History, stamp
from diffcl.studies.names import check_name
from diffcl.studies.notes import added, checked, readable
from diffcl.studies.proposed import DOUBT_SUFFIX, Proposed, keep_proposed, read_proposed
from diffcl.studies.protocol import Studies

logger = logging.getLogger(__name__)

NO_ARCHIVE = "a folder of files"


class FolderScans(Studies):
    """The part of `FolderStudies` that is about scans.

    What is on disk is looked at whenever something is asked, so files may come and go by hand and other
    processes may write. All that is written is written beside its place and moved in.

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
        self._contents = FolderContents(folder, self.history, self._several)

    def _several(self) -> bool:
        """Whether a scan may have several images."""
        return any(task.sequences for task in self._tasks())

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

    def patients(self, image_ids: Sequence[str]) -> dict[str, str]:
        """What `patients.csv` says."""
        known = patients_in_file(self._folder)
        return {image_id: known[image_id] for image_id in image_ids if image_id in known}

    def image_path(self, image_id: str) -> Path:
        """The file of the scan; a link to it, which has its name, where it lies elsewhere."""
        content = self._contents.now()
        if image_id not in content.objects:
            raise NotFoundError(f"image {image_id[:80]}", "not there, or not any more")
        return self._contents.scan_file(content, image_id).absolute()

    def scan_path(self, image_id: str) -> Path:
        """The same file."""
        return self.image_path(image_id)

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
        several = self._several()
        if several:
            self._check_one_image(image_id)
        with named(f"scan {image_id}"):
            grid = self._grid_of(file)
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

    def _entry(self, image_id: str) -> ScanEntry:
        objects = self._contents.now().objects
        if image_id not in objects:
            raise unknown_name("image", image_id, objects)
        return objects[image_id]

    def _grid(self, image_id: str) -> Geometry:
        return self._grid_of(self.image_path(image_id))

    def _grid_of(self, file: Path) -> Geometry:
        return Geometry.of((read_scans(file)[0] if self._several() else read_scan(file)).image)

    def _check_one_image(self, image_id: str) -> None:
        """Refuse an upload of one image of a scan that has several, or of one that would be taken for such."""
        known = self._contents.now().objects.get(image_id)
        numbered = re.search(r"_00\d\d$", image_id)
        if numbered or (known and known.image.ext.startswith(FIRST)):
            raise UsageError(f"scan {image_id}", "is one of several images",
                             "Put them into the folder of the studies, or send one 4D file")  # fmt: skip

    def _proposal_file(self, image_id: str) -> Path:
        return self._proposals / f"{image_id}{LABEL_SUFFIX}"
