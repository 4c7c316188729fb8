"""MONAI Label's training task over the library's, in a child process of the server."""

from __future__ import annotations

import logging
import sys
from typing import Any, BinaryIO

from monailabel.interfaces.tasks.train import TrainTask

from diffcl.errors import DiffclError
from diffcl.studies.training import StudyTraining
from diffcl.studies.training_options import TrainingOptions
from diffcl.web.children import end_with_the_server, is_child, lower_priority
from diffcl.web.http_errors import refusals
from diffcl.web.options import Options, check_options
from lib.datastores.datastore import StudiesDatastore

logger = logging.getLogger(__name__)

STARTS = ("published model", "scratch")

NETWORKS = ("both", "cs", "ds")


class TrainOptions(Options, TrainingOptions):
    """What a client may ask of a training; see `TrainingOptions`."""


class SemiSupervisedTraining(TrainTask):
    """Trains a task on the labelled and unlabelled scans of the studies and publishes what is not worse.

    Args:
        name: Of the model.
        training: What is translated.

    Attributes:
        training: The same.
    """

    def __init__(self, name: str, training: StudyTraining) -> None:
        super().__init__(f"Learns {name} from all scans: those with a final label and those without")
        self.training = training

    def config(self) -> dict[str, Any]:
        """The options in the viewers' form: a list offers its entries."""
        choices = {"start_from": list(STARTS), "networks": list(NETWORKS)}
        return {**TrainOptions().model_dump(), **choices, "minutes": 0}

    def stats(self) -> dict[str, Any]:
        """How the last training goes or went."""
        return self.training.progress.read()

    def __call__(self, request: dict[str, Any], datastore: StudiesDatastore) -> dict[str, Any]:
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
        child = "local_rank" in request and is_child()
        if child:
            end_with_the_server()
            lower_priority()
        with refusals():
            try:
                return self.training.run(check_options(TrainOptions, request), datastore.studies)
            except DiffclError as error:
                logger.error(str(error))
                if child:
                    sys.exit(1)
                raise

    def accept(self, archive: BinaryIO, datastore: StudiesDatastore) -> dict[str, Any]:
        """Make an uploaded model a new version, under the gate.

        Raises:
            HTTPException: 4xx with a sentence, if it is no model of this task.
        """
        with refusals():
            return self.training.accept(archive, datastore.studies)
