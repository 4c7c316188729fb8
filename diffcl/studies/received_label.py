"""A label that a client sent for a scan: checked, and what becomes of it in any kind of studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from diffcl.errors import named
from diffcl.geometry import Geometry
from diffcl.recipe import Recipe
from diffcl.studies.label_changes import joined, label_record, new_parts, proposal_of
from diffcl.studies.label_check import Proposal, Submission, check_label
from diffcl.studies.label_tags import FINAL, check_submitted
from diffcl.studies.names import check_name
from diffcl.studies.notes import checked
from diffcl.studies.review import with_review


@dataclass(frozen=True)
class LabelRequest:
    """What a client asks for when it sends a label; see `label_request`.

    Attributes:
        image_id: The scan.
        tag: Of the label.
        params: What the client says of it.
    """

    image_id: str
    tag: str
    params: Mapping[str, Any]

    @property
    def where(self) -> str:
        """What errors name."""
        return _where(self.image_id)

    @property
    def is_final(self) -> bool:
        """Whether the label is to teach, and is kept as a version."""
        return self.tag == FINAL

    def received(
        self,
        file: Path,
        grid: Geometry,
        tasks: Sequence[Recipe],
        about: object,
        read_proposal: Callable[[], sitk.Image | None],
    ) -> ReceivedLabel:
        """The label, checked.

        Args:
            file: As it came.
            grid: Of the scan.
            tasks: Whose classes it may hold.
            about: The note `proposal` on the scan.
            read_proposal: Reads what was proposed for the scan.

        Raises:
            ScanError: If the file is no label.
            DataError: If it does not fit the scan or a task.
        """
        proposal = proposal_of(about, read_proposal, grid)
        with named(self.where):
            parts = check_label(file, grid, tasks, self.params, self.where, proposal)
        return ReceivedLabel(self, parts, about, proposal)


@dataclass(frozen=True)
class ReceivedLabel:
    """A label that was accepted.

    Attributes:
        request: What was asked.
        parts: What it has of each task.
        about: The note `proposal` on the scan.
        proposal: What was proposed for the scan.
    """

    request: LabelRequest
    parts: Sequence[Submission]
    about: object
    proposal: Proposal | None

    def to_keep(self, former: Callable[[str], sitk.Image | None]) -> Sequence[Submission]:
        """The labels to keep: of a final one those of the tasks in which it is new, any other as a whole.

        Args:
            former: Gives the final label that the scan has for a task; None for none.
        """
        return new_parts(self.parts, former) if self.request.is_final else [joined(self.parts)]

    def record(self, part: Submission, changed_voxels: int | None) -> dict[str, Any]:
        """What is written down about one of them; see `label_record`."""
        return label_record(self.request.params, part, self.about, self.proposal, changed_voxels)


def label_request(image_id: str, tag: str, params: Mapping[str, Any]) -> LabelRequest:
    """A request of which the tag can be a file's name, and the params can be kept.

    Raises:
        UsageError: If they cannot.
    """
    check_submitted(tag)
    tag = check_name(tag, "label tag")
    return LabelRequest(image_id, tag, with_review(checked(params, _where(image_id)), _where(image_id)))


def _where(image_id: str) -> str:
    return f"label of {image_id}"
