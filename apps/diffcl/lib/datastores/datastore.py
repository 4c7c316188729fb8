"""MONAI Label's datastore over the studies of the library: it translates, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from monailabel.interfaces.datastore import Datastore

from diffcl.studies.label_tags import FINAL
from diffcl.studies.protocol import Studies
from diffcl.web.http_errors import refusals

Arguments = ParamSpec("Arguments")

Answer = TypeVar("Answer")


def _of(
    method: Callable[Concatenate[Studies, Arguments], Answer],
) -> Callable[Concatenate[StudiesDatastore, Arguments], Answer]:
    """A method of the datastore that is one of the studies."""

    def ask(self: StudiesDatastore, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        with refusals():
            answer: Answer = getattr(self.studies, method.__name__)(*args, **kwargs)
            return answer

    ask.__doc__ = f"See `Studies.{method.__name__}`."
    return ask


class StudiesDatastore(Datastore):
    """What MONAI Label asks of a datastore. A `DiffclError` becomes an `HTTPException` with the same sentence.

    Args:
        studies: In a folder or in an archive.

    Attributes:
        studies: The same.
    """

    def __init__(self, studies: Studies) -> None:
        self.studies = studies

    name = _of(Studies.name)
    set_name = _of(Studies.set_name)
    description = _of(Studies.description)
    set_description = _of(Studies.set_description)
    list_images = _of(Studies.scans)
    get_image_info = _of(Studies.image_notes)
    update_image_info = _of(Studies.note_image)
    remove_image = _of(Studies.remove_image)
    get_label_info = _of(Studies.label_notes)
    update_label_info = _of(Studies.note_label)
    remove_label = _of(Studies.remove_label)
    refresh = _of(Studies.refresh)
    status = _of(Studies.status)
    json = _of(Studies.content)

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

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """See `Studies.add_image`."""
        with refusals():
            return self.studies.add_image(image_id, Path(image_filename), image_info)

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:  # noqa: ARG002
        """The content of the label's file."""
        return io.BytesIO(Path(self.get_label_uri(label_id, label_tag)).read_bytes())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """See `Studies.label_path`; empty for none."""
        with refusals():
            return str(self.studies.label_path(label_id, label_tag) or "")

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """See `Studies.save_label`."""
        with refusals():
            return SavedLabel(
                image_id, self.studies.save_label(image_id, Path(label_filename), label_tag, label_info)
            )

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """See `Studies.export`."""
        with refusals():
            return str(self.studies.export(limit_cases))


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
