"""What an annotation project is, whether its scans lie in a folder or in a DICOM archive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import SimpleITK as sitk

from diffcl.active_learning.scorer import ScansToScore
from diffcl.errors import NotFoundError
from diffcl.io.dicom.series import DicomSeries
from diffcl.studies.agreement import mean_dice
from diffcl.studies.label_tags import FINAL, FINAL_OF
from diffcl.studies.proposed import Proposed
from diffcl.studies.review import review_of


def no_label(image_id: str, tag: str) -> NotFoundError:
    """What is raised for a label that is not there."""
    return NotFoundError(f"label of {image_id[:80]}", f"there is none with the tag {tag[:40]!r}")


class Studies(ABC):
    """Scans, their labels, and what is known of both. Safe in threads; several processes may work on the same.

    A scan has an id, a label the id of its scan and a tag. A scan has a final label for each task: its tag is `final.`
    and the name of the task, and the tag `final` means the map of all of them. What one kind of studies cannot do
    raises a `DiffclError` that says so, so nobody has to ask which kind it is. Every method raises `NotFoundError` for
    a scan or label that is not there, and `ArchiveError` where an archive is behind it that fails.

    Attributes:
        fetching_is_costly: Whether a scan has to be brought here before anything can be done with it.
    """

    fetching_is_costly: bool

    @property
    def delay(self) -> float:
        """Seconds, at most, until what others have changed is seen here; 0 where it is seen at once."""
        return 0.0

    @abstractmethod
    def name(self) -> str:
        """Name for people."""

    @abstractmethod
    def set_name(self, name: str) -> None:
        """Name the studies.

        Raises:
            ReadOnlyError: If their name is not kept here.
        """

    @abstractmethod
    def description(self) -> str:
        """One line for people."""

    @abstractmethod
    def set_description(self, description: str) -> None:
        """Describe the studies.

        Raises:
            ReadOnlyError: If their description is not kept here.
        """

    @abstractmethod
    def scans(self) -> list[str]:
        """The ids of all scans."""

    @abstractmethod
    def labelled(self, task: str | None = None) -> list[str]:
        """The scans that have a final label, for a task if one is named; a label of no known task counts for each."""

    @abstractmethod
    def waiting(self, task: str | None = None) -> list[str]:
        """The scans that wait for a final label, for a task if one is named, else for any.

        Those that are known to be unusable do not wait.
        """

    @abstractmethod
    def patients(self, image_ids: Sequence[str]) -> dict[str, str]:
        """Whose scans they are, by their ids; of those of which that is known.

        Raises:
            DataError: If that is written down in a way that cannot be understood.
        """

    @abstractmethod
    def tags(self, image_id: str) -> list[str]:
        """The tags of the labels of a scan; none for a scan that is not there."""

    @abstractmethod
    def image_path(self, image_id: str) -> Path:
        """One file that a viewer can show.

        Raises:
            ScanError: If the scan cannot be used; from then on it does not wait for a label.
        """

    @abstractmethod
    def scan_path(self, image_id: str) -> Path:
        """The file or folder that predictions read."""

    def case_path(self, image_id: str) -> Path:
        """The file or folder from which a task of several sequences reads all of a scan."""
        return self.scan_path(image_id)

    @abstractmethod
    def to_score(self) -> ScansToScore:
        """The scans that scores are wanted of; of an archive a fair sample."""

    @abstractmethod
    def image_notes(self, image_id: str) -> dict[str, Any]:
        """What is known of a scan, in a form that can be changed without harm."""

    @abstractmethod
    def note_image(self, image_id: str, notes: Mapping[str, Any]) -> None:
        """Add to what is known of a scan.

        Raises:
            UsageError: For notes that cannot be kept; see `diffcl.studies.notes`.
        """

    @abstractmethod
    def add_image(self, image_id: str, file: Path, notes: Mapping[str, Any]) -> str:
        """Add a scan, or replace one of the same grid, whose labels stay.

        Args:
            image_id: Its id; that of the file where it is empty.
            file: The scan.
            notes: What is known of it.

        Returns:
            Its id.

        Raises:
            ReadOnlyError: If scans are not added here.
            UsageError: If the id cannot be a file's name, or see `note_image`.
            ScanError: If the file is no scan.
            DataError: If an existing label would no longer fit it.
        """

    @abstractmethod
    def remove_image(self, image_id: str) -> None:
        """Remove a scan and its labels; the versions of its final label are kept.

        Raises:
            ReadOnlyError: If scans are not removed here.
        """

    @abstractmethod
    def label_path(self, image_id: str, tag: str) -> Path | None:
        """The file of a label, on the grid of its scan; None where there is none.

        Raises:
            ScanError: If it cannot be used.
        """

    @abstractmethod
    def training_label(self, image_id: str, task: str, *, only_approved: bool = False) -> Path | None:
        """The label of a scan that teaches a task: the very version, which none replaces. See `diffcl.studies.review`.

        The newest approved one, or else the newest, unless that is flagged. None where there is none.

        Args:
            image_id: The scan.
            task: Name of the task; a label of no known task counts as well.
            only_approved: Whether only approved labels teach.

        Raises:
            ScanError: If it cannot be used.
            UsageError: If its file vanished.
        """

    @abstractmethod
    def label_notes(self, image_id: str, tag: str) -> dict[str, Any]:
        """What is known of a label, of a final one its version as well; empty where there is none."""

    @abstractmethod
    def label_versions(self, image_id: str) -> list[dict[str, Any]]:
        """The records of all versions of the final label of a scan, oldest first, each with its review."""

    def versions_mark(self, image_id: str) -> object:  # noqa: ARG002
        """Another value once the versions of a scan's final label are others; None where that cannot be told."""
        return None

    @abstractmethod
    def note_label(self, image_id: str, tag: str, notes: Mapping[str, Any]) -> None:
        """Add to what is known of a label; what the record of its version says stays as it is.

        Raises:
            UsageError: See `note_image`.
        """

    @abstractmethod
    def tasks_of(self, image_id: str) -> list[str]:
        """The tasks for which a scan has a final label; none where nobody knows for which."""

    def to_review(self) -> list[str]:
        """The scans with a final label that waits for a review, those first on which two people agree least."""
        waiting = []
        for image_id in self.labelled():
            tags = [f"{FINAL_OF}{task}" for task in self.tasks_of(image_id)] or [FINAL]
            every = [self.label_notes(image_id, tag) for tag in tags]
            scores = [mean_dice(notes) for notes in every if review_of(notes).status == "submitted"]
            if scores:
                waiting.append((min(scores), image_id))
        return [image_id for _, image_id in sorted(waiting)]

    @abstractmethod
    def keep_proposal(
        self, image_id: str, label: sitk.Image, about: Mapping[str, Any], doubt: sitk.Image | None = None
    ) -> None:
        """Remember what was proposed for a scan, to compare it with what the annotator makes of it.

        A failure costs the comparison only; the log says why.

        Args:
            image_id: The scan.
            label: The proposed classes, on the scan's grid.
            about: `model`, `version` and `task`, and whether places to check were `marked`.
            doubt: Where the model was in doubt, 0..1 on the scan's grid; kept coarsely, for pictures.
        """

    @abstractmethod
    def proposed(self, image_id: str) -> Proposed:
        """What was last proposed for a scan, as far as it was kept.

        Raises:
            ScanError: If it cannot be used.
        """

    @abstractmethod
    def save_label(self, image_id: str, file: Path, tag: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Check a label and make it the scan's label of that tag; a final one is kept as a version.

        A final one with segments of several tasks becomes a version of each; what is as it was before does not.

        Args:
            image_id: The scan.
            file: The received file.
            tag: `final`, or any other.
            params: What the client says; see `diffcl.studies.label_check`.

        Returns:
            The record of the label, of several the last one's, and in `stored` the version of each task.

        Raises:
            UsageError: If the tag cannot be a file's name, or see `note_image`.
            ScanError: If the file is no label.
            DataError: If it does not fit the scan or a task; the old label stays.
        """

    @abstractmethod
    def remove_label(self, image_id: str, tag: str, by: Mapping[str, str] | None = None) -> None:
        """Remove a label; a final one stays among the versions.

        Args:
            image_id: Its scan.
            tag: Its tag.
            by: Who asked for it, for the record of the removal.

        Raises:
            ReadOnlyError: If labels of that tag are not removed here.
        """

    @abstractmethod
    def series(self, image_id: str) -> DicomSeries:
        """The series that a scan is, downloaded if need be, for what refers to it.

        Raises:
            DataError: If the scans are no series.
            ScanError: If the series cannot be used.
        """

    @abstractmethod
    def pass_on(
        self, method: str, service: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> requests.Response:
        """The archive's own answer to a viewer; see `diffcl.io.dicomweb.client.Archive.pass_on`.

        Raises:
            NotFoundError: If there is no archive.
        """

    @abstractmethod
    def visible_series(self) -> dict[str, str]:
        """StudyInstanceUID by SeriesInstanceUID of the scans that are served, and of their labels.

        Raises:
            NotFoundError: If there is no archive.
        """

    @abstractmethod
    def refresh(self) -> None:
        """Look again at what there is when something is asked next."""

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """How many scans there are.

        `total`, how many are `completed`, how many have each of the `label_tags`, and how many have a final label for
        each of the `tasks`; and of each `partly_drawn` one how much of it is drawn, for people.
        """

    @abstractmethod
    def content(self, *, older: bool = True) -> dict[str, Any]:
        """All that is known, in the form of MONAI Label's index file.

        Args:
            older: Whether older versions of final labels are told, under tags of their own, where they are shown so.
        """

    @abstractmethod
    def export(self, limit: int | None = None) -> Path:
        """A ZIP file of the labelled scans and their final labels; the next one replaces it.

        Args:
            limit: At most so many scans.

        Raises:
            NotFoundError: If no scan has a final label.
        """
