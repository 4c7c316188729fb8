"""From the files of scans to the files of their results: what the command line and Python users call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from diffcl.data.sequences import Case, Image, read_case
from diffcl.errors import ModelError, UsageError, failure_sentence
from diffcl.files import remove_temporary_files
from diffcl.inference.engine import EngineChoice, engine_choice
from diffcl.inference.ensemble import Networks, networks_choice
from diffcl.inference.noise import seed_choice
from diffcl.inference.outlook import Outlook
from diffcl.inference.outputs import Outputs, folders_of, plan
from diffcl.inference.predictor import Predictor, Report
from diffcl.inference.results import check_series, write_results
from diffcl.io.scan_list import listed
from diffcl.models.metadata import read_info
from diffcl.models.registry import ModelRegistry
from diffcl.models.weights import Model, load_model
from diffcl.recipe import ImageSequence
from diffcl.resources import models_folder


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

    Raises:
        UsageError: If there are no such engine or networks, or the seed is none.
    """

    model: str
    store: Path
    device: str = "cpu"
    engine: EngineChoice = "auto"
    networks: Networks = "ensemble"
    seed: int | None = None
    series: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        engine_choice(self.engine)
        networks_choice(self.networks)
        seed_choice(self.seed)


@dataclass(frozen=True)
class Job:
    """A scan and where its results go.

    Attributes:
        scan: The scan, or the first image of a case, or all of it.
        output: Where its results go.
        others: Further sequences of the case by name, where they are not told by the names of their files.
    """

    scan: Path
    output: Outputs
    others: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a scan: a report, or why there is none.

    Attributes:
        job: The scan and where its results are.
        report: None where it failed.
        error: Why, one sentence; empty where it did not.
    """

    job: Job
    report: Report | None
    error: str = ""


@dataclass(frozen=True)
class Watchers:
    """Who is told of the work while it goes on.

    Attributes:
        outlook: Told of each scan, before most of its work, what speaks against it and how long it will take.
        windows: Told of each scan how many windows are done, and of how many.
        outcome: Told of each scan what became of it, how many scans are done, and of how many.
    """

    outlook: Callable[[Outlook], None] | None = None
    windows: Callable[[int, int], None] | None = None
    outcome: Callable[[Outcome, int, int], None] | None = None


def planned(
    scans: Sequence[Path],
    wanted: Outputs,
    *,
    new_only: bool = False,
    sequences: Sequence[ImageSequence] = (),
    others: Sequence[tuple[str, Path]] = (),
) -> list[Job]:
    """The scans that are meant, and where the results of each go; see `listed` and `plan`.

    Args:
        scans: Files, folders and lists.
        wanted: Files or folders, as people named them.
        new_only: Whether scans whose label is there are left out.
        sequences: Of the model, where a case has several.
        others: Further sequences of the only scan, by name.

    Raises:
        UsageError: If a list cannot be read, or a result cannot go where it is wanted, or further sequences are given
            for several scans.
        OutputError: If a folder can neither be made nor written into.
    """
    found = listed(scans, sequences)
    if others and len(found) != 1:
        raise UsageError("--with", f"names images of one case, and there are {len(found)} scans",
                         "Give one, or name the files CASE_0000, CASE_0001 and so on")  # fmt: skip
    outputs = plan(found, wanted, sequences, [path for _, path in others])
    jobs = [Job(scan, output, tuple(others)) for scan, output in zip(found, outputs, strict=True)]
    return [job for job in jobs if not (new_only and job.output.label and job.output.label.exists())]


def predict_jobs(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    workers: int = 0,
    cluster: str | None = None,
    watchers: Watchers | None = None,
) -> list[Outcome]:
    """Segment scans, one after the other or shared among processes; one that fails does not stop the others.

    Args:
        jobs: The scans and where their results go.
        settings: How.
        workers: Processes of this machine that share the scans; 0 for this one, the only one that tells of windows.
        cluster: Address of a Dask scheduler whose workers segment, as in `tcp://host:8786`.
        watchers: Told of the work while it goes on.

    Returns:
        What became of each scan, in the order in which they were done.

    Raises:
        ModelError: If the model is damaged.
        UsageError: If there is no such model or scheduler.
    """
    watchers = watchers or Watchers()
    loaded(settings)  # before anything is sent to workers: they would all say that it is missing
    for folder in folders_of(job.output for job in jobs):
        remove_temporary_files(folder)
    if workers or cluster:
        from diffcl.inference.workers import segment_on_workers

        outcomes: Iterable[Outcome] = segment_on_workers(jobs, settings, workers, cluster)
    else:
        settings = replace(
            settings, model=str(_registry(settings).folder(settings.model))
        )  # one version for all
        outcomes = (segment(job, settings, watchers) for job in jobs)
    return list(_told(outcomes, len(jobs), watchers))


def _told(outcomes: Iterable[Outcome], total: int, watchers: Watchers) -> Iterator[Outcome]:
    for done, outcome in enumerate(outcomes, start=1):
        if watchers.outcome is not None:
            watchers.outcome(outcome, done, total)
        yield outcome


def segment(job: Job, settings: Settings, watchers: Watchers | None = None) -> Outcome:
    """Read, predict and write one scan; whatever goes wrong with it is the outcome."""
    watchers = watchers or Watchers()
    try:
        predictor = loaded(settings)
        sequences = predictor.model.info.recipe.sequences
        scan = read_case(_source(job, sequences), sequences, series_uid=settings.series)
        check_series(scan, job.output)
        prediction = predictor(
            scan,
            networks=settings.networks,
            seed=settings.seed,
            keep_probabilities=job.output.probabilities is not None,
            on_outlook=watchers.outlook,
            on_progress=watchers.windows,
        )
        write_results(scan, prediction, predictor.model.info, job.output)
    except Exception as error:  # noqa: BLE001  the next scan may be fine
        return Outcome(job, None, failure_sentence(job.scan, error))
    return Outcome(job, prediction.report)


def _source(job: Job, sequences: Sequence[ImageSequence]) -> Case:
    """What a job names: a path, or images by the names of their sequences."""
    if not job.others:
        return job.scan
    images: dict[str, Image] = {sequences[0].name: job.scan} if sequences else {}
    return {**images, **dict(job.others)}


def sequences_of(settings: Settings) -> tuple[ImageSequence, ...]:
    """The sequences that the model of the settings takes; none where a case is one image.

    Raises:
        UsageError: If there is no model of that name.
        ModelError: If the model is damaged.
    """
    return read_info(_registry(settings).folder(settings.model)).recipe.sequences


def loaded(settings: Settings) -> Predictor:
    """The Predictor of the settings, of the version that is in use now; loaded once in a process.

    Raises:
        UsageError: If there is no model of that name.
        ModelError: If the model is damaged.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return _predictor(_registry(settings).folder(settings.model), settings.device, settings.engine)


@lru_cache(maxsize=1)
def _predictor(folder: Path, device: str, engine: EngineChoice) -> Predictor:
    """The Predictor of a version, which never changes."""
    return Predictor(load_model(folder, device), engine)


def _registry(settings: Settings) -> ModelRegistry:
    return ModelRegistry(settings.store, models_folder())


def folder_of(model: Model) -> str:
    """The folder of a loaded model, by which workers find it.

    Raises:
        ModelError: If it is in memory alone.
    """
    if model.folder is None:
        raise ModelError(model.info.name, "is in memory alone", "Publish it, or name a published model")
    return str(model.folder)
