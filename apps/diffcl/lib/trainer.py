"""MONAI Label's training task over the library's: the options that viewers show, and a child process that ends well."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.train import TrainTask

from diffcl.errors import ArchiveDownError, DataError, DiffclError
from diffcl.studies.training import StudyTraining, TrainingOptions
from lib.children import end_with_the_server, in_child, keep_out_of_the_way
from lib.datastore import StudyDatastore
from lib.http_errors import refusals
from lib.options import Options, check_options

logger = logging.getLogger(__name__)

FINAL = DefaultLabelTag.FINAL.value

STARTS = ("published model", "scratch")

NETWORKS = ("both", "cs", "ds")


class TrainOptions(Options, TrainingOptions):
    """What a client may ask of a training; see `TrainingOptions`."""


class SemiSupervisedTraining(TrainTask):
    """Trains a task on the labelled and unlabelled scans of the studies and publishes what is not worse.

    Args:
        name: Of the model.
        training: What is translated.
    """

    def __init__(self, name: str, training: StudyTraining) -> None:
        super().__init__(f"Learns {name} from all scans: those with a final label and those without")
        self._training = training

    def config(self) -> dict[str, Any]:
        """The options in the viewers' form: a list offers its entries."""
        choices = {"start_from": list(STARTS), "networks": list(NETWORKS)}
        return {**TrainOptions().model_dump(), **choices, "minutes": 0}

    def stats(self) -> dict[str, Any]:
        """How the last training goes or went."""
        return self._training.progress.read()

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, validate and publish.

        In a child process, what people must know of a failure goes into the log, and the process ends.

        Args:
            request: The options.
            datastore: The studies.

        Returns:
            The decision, the number of the version, and how many scans were used.

        Raises:
            HTTPException: 4xx with a sentence, if an option is impossible or nothing can be learned.
        """
        child = "local_rank" in request and in_child()
        if child:
            end_with_the_server()
            keep_out_of_the_way()
        with refusals():
            try:
                return self._training.run(check_options(TrainOptions, request), StudiesOf(datastore))
            except DiffclError as error:
                logger.error(str(error))
                if child:
                    sys.exit(1)
                raise

    def accept(self, archive: BinaryIO, datastore: Datastore) -> dict[str, Any]:
        """Make an uploaded model a new version, under the gate.

        Raises:
            HTTPException: 4xx with a sentence, if it is no model of this task.
        """
        with refusals():
            return self._training.accept(archive, StudiesOf(datastore))


class StudiesOf:
    """The studies behind a datastore, as far as a training asks for them."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    def scans(self) -> list[str]:
        """The ids of all scans."""
        with _as_library_errors():
            return list(self._datastore.list_images())

    def labelled(self) -> list[str]:
        """The scans that have a final label."""
        with _as_library_errors():
            return list(self._datastore.get_labeled_images())

    def image_path(self, image_id: str) -> Path:
        """A file of a scan."""
        with _as_library_errors():
            return Path(self._datastore.get_image_uri(image_id))

    def training_label(self, image_id: str, task: str) -> Path | None:
        """The final label of a scan if it is of a task; the very version, which no later one replaces."""
        with _as_library_errors():
            if FINAL not in self._datastore.get_labels_by_image_id(image_id):
                return None
            info: dict[str, Any] = self._datastore.get_label_info(image_id, FINAL)
            if info.get("task") not in (None, task):
                return None
            if isinstance(self._datastore, StudyDatastore) and info.get("version"):
                return self._datastore.history.label(image_id, info["version"])
            return Path(self._datastore.get_label_uri(image_id, FINAL))


@contextmanager
def _as_library_errors() -> Iterator[None]:
    try:
        yield
    except HTTPException as error:
        where, _, what = str(error.detail).partition(": ")
        raise (ArchiveDownError if error.status_code >= 500 else DataError)(where, what) from error
