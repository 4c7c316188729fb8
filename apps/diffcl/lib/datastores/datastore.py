"""MONAI Label's datastore over the studies of the library: it translates, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

from diffcl.studies.protocol import FINAL, Studies
from diffcl.web.http_errors import refusals


class StudiesDatastore(Datastore):
    """What MONAI Label asks of a datastore. A `DiffclError` becomes an `HTTPException` with the same sentence.

    Args:
        studies: In a folder or in an archive.

    Attributes:
        studies: The same.
    """

    def __init__(self, studies: Studies) -> None:
        self.studies = studies

    def name(self) -> str:
        """See `Studies.name`."""
        with refusals():
            return self.studies.name()

    def set_name(self, name: str) -> None:
        """See `Studies.set_name`."""
        with refusals():
            self.studies.set_name(name)

    def description(self) -> str:
        """See `Studies.description`."""
        with refusals():
            return self.studies.description()

    def set_description(self, description: str) -> None:
        """See `Studies.set_description`."""
        with refusals():
            self.studies.set_description(description)

    def datalist(self) -> list[dict[str, Any]]:
        """Files of every labelled scan and of its final label."""
        with refusals():
            pairs = [
                (image_id, self.studies.label_path(image_id, FINAL)) for image_id in self.studies.labelled()
            ]
            return [
                {"image": str(self.studies.image_path(image_id)), "label": str(label)}
                for image_id, label in pairs
                if label
            ]

    def list_images(self) -> list[str]:
        """See `Studies.scans`."""
        with refusals():
            return self.studies.scans()

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002
        """See `Studies.labelled`."""
        with refusals():
            return self.studies.labelled()

    def get_unlabeled_images(
        self,
        label_tag: str | None = None,  # noqa: ARG002
        labels: list[str] | None = None,  # noqa: ARG002
    ) -> list[str]:
        """See `Studies.waiting`."""
        with refusals():
            return self.studies.waiting()

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """The image's id, which is the label's as well, for each tag of which it has a label."""
        with refusals():
            return dict.fromkeys(self.studies.tags(image_id), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """The image's id if it has a label of that tag, else nothing."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The content of the image's file."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """See `Studies.image_path`."""
        with refusals():
            return str(self.studies.image_path(image_id))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """See `Studies.image_notes`."""
        with refusals():
            return self.studies.image_notes(image_id)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """See `Studies.note_image`."""
        with refusals():
            self.studies.note_image(image_id, info)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """See `Studies.add_image`."""
        with refusals():
            return self.studies.add_image(image_id, Path(image_filename), image_info)

    def remove_image(self, image_id: str) -> None:
        """See `Studies.remove_image`."""
        with refusals():
            self.studies.remove_image(image_id)

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The content of the label's file."""
        return io.BytesIO(Path(self.get_label_uri(label_id, label_tag)).read_bytes())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """See `Studies.label_path`; empty for none."""
        with refusals():
            return str(self.studies.label_path(label_id, label_tag) or "")

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """See `Studies.label_notes`."""
        with refusals():
            return self.studies.label_notes(label_id, label_tag)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """See `Studies.note_label`."""
        with refusals():
            self.studies.note_label(label_id, label_tag, info)

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """See `Studies.save_label`."""
        with refusals():
            return SavedLabel(
                image_id, self.studies.save_label(image_id, Path(label_filename), label_tag, label_info)
            )

    def remove_label(self, label_id: str, label_tag: str, by: Mapping[str, str] | None = None) -> None:
        """See `Studies.remove_label`."""
        with refusals():
            self.studies.remove_label(label_id, label_tag, by)

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """See `Studies.export`."""
        with refusals():
            return str(self.studies.export(limit_cases))

    def refresh(self) -> None:
        """See `Studies.refresh`."""
        with refusals():
            self.studies.refresh()

    def status(self) -> dict[str, Any]:
        """See `Studies.status`."""
        with refusals():
            return self.studies.status()

    def json(self) -> dict[str, Any]:
        """See `Studies.content`."""
        with refusals():
            return self.studies.content()


class SavedLabel(str):
    """The id of a label that was just saved, as MONAI Label hands it on to the app.

    Attributes:
        record: Of this very label, whatever somebody else has saved meanwhile.
    """

    record: dict[str, Any]

    def __new__(cls, label_id: str, record: dict[str, Any]) -> SavedLabel:
        """An id with the record of its label."""
        found = super().__new__(cls, label_id)
        found.record = record
        return found
