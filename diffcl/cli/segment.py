"""One scan to its results: what `diffcl predict` does for each, here or on a worker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffcl.cli.outputs import Outputs, make_folder
from diffcl.errors import DiffclError, OutputError

if TYPE_CHECKING:
    from diffcl.inference import Prediction, Predictor, Report
    from diffcl.inference.engine import EngineChoice
    from diffcl.inference.ensemble import Networks
    from diffcl.io import Scan
    from diffcl.io.dicom.series import DicomSeries
    from diffcl.models import ModelInfo


@dataclass(frozen=True)
class Settings:
    """How all scans are segmented.

    Attributes:
        model: Name or folder of the model.
        store: Folder of the user's models.
        device: Where to compute.
        engine: What computes the networks.
        networks: The ensemble, or one network alone.
        seed: Of the noise that DS starts from; None for the model's own.
        series: SeriesInstanceUID to take from a folder of several series.
        threads: That the networks may use; None for as many as there are.
    """

    model: str
    store: Path
    device: str
    engine: EngineChoice
    networks: Networks
    seed: int | None
    series: str | None
    threads: int | None = None


@dataclass(frozen=True)
class Job:
    """A scan and where its results go."""

    scan: Path
    output: Outputs


@dataclass(frozen=True)
class Outcome:
    """What became of a scan: a report, or why there is none."""

    job: Job
    report: Report | None
    error: str = ""


def segment(job: Job, settings: Settings) -> Outcome:
    """Read, predict and write one scan."""
    from diffcl.io import read_scan

    try:
        predictor = loaded(settings)
        scan = read_scan(job.scan, series_uid=settings.series)
        if scan.series is None and (wanted := job.output.dicom()):
            raise OutputError(wanted, "a DICOM segmentation needs a DICOM series as its scan",
                              "Write an image file, for example .nii.gz")  # fmt: skip
        prediction = predictor(scan, networks=settings.networks, seed=settings.seed,
                               keep_probabilities=job.output.probabilities is not None)  # fmt: skip
        write(scan, prediction, predictor.model.info, job.output)
    except DiffclError as error:
        return Outcome(job, None, str(error))
    return Outcome(job, prediction.report)


@lru_cache(maxsize=1)
def loaded(settings: Settings) -> Predictor:
    """The Predictor of the settings, loaded once in a process.

    Raises:
        ModelError: If the model is missing or damaged.
    """
    import torch

    from diffcl.inference import Predictor
    from diffcl.models import ModelRegistry
    from diffcl.resources import models_folder

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    model = ModelRegistry(settings.store, models_folder()).load(settings.model, settings.device)
    return Predictor(model, settings.engine)


def write(scan: Scan, prediction: Prediction, info: ModelInfo, output: Outputs) -> None:
    """Write what was asked for of one prediction."""
    from diffcl.files import write_text
    from diffcl.io import write_image

    for path in output.paths():
        make_folder(path.parent)
    if scan.series is not None and output.dicom() is not None:
        write_dicom(scan.series, prediction, info, output)
    if output.label.suffix.lower() != ".dcm":
        write_image(prediction.label, output.label)
    if output.uncertainty is not None:
        write_image(prediction.uncertainty, output.uncertainty)
    if output.report is not None and output.report.suffix.lower() != ".dcm":
        write_text(output.report, prediction.report.model_dump_json(indent=2) + "\n")
    if output.picture is not None:
        from diffcl.evaluation.figures import draw_prediction

        found = prediction.report
        title = f"{found.case}, by {found.model} {found.version}, doubt {found.doubt:.2f}"
        draw_prediction(scan.image, prediction.label, prediction.uncertainty, info.recipe.labels,
                        output.picture, title=title)  # fmt: skip


def write_dicom(series: DicomSeries, prediction: Prediction, info: ModelInfo, output: Outputs) -> None:
    """Write what goes back to the archive of a series."""
    from diffcl.io.dicom.seg_write import write_probability_seg, write_seg
    from diffcl.io.dicom.sr import write_sr

    labels, found = info.recipe.labels, prediction.report
    if output.label.suffix.lower() == ".dcm":
        write_seg(prediction.label, series, labels, output.label,
                  model_name=info.name, model_version=info.version)  # fmt: skip
    if output.probabilities is not None:
        write_probability_seg(prediction.probabilities, series, labels, output.probabilities,
                              model_name=info.name, model_version=info.version)  # fmt: skip
    if output.report is not None and output.report.suffix.lower() == ".dcm":
        write_sr(found.volumes_ml, found.doubt, output.label, series, labels, output.report,
                 model_name=info.name, model_version=info.version)  # fmt: skip
