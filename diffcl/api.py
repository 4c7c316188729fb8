"""The functions of the public API: what a notebook calls, each a call into the library. See docs/python.md."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from diffcl.errors import UsageError

if TYPE_CHECKING:
    from diffcl.data.cases import Cases
    from diffcl.data.sequences import Case
    from diffcl.evaluation.scores import Scores
    from diffcl.inference.engine import EngineChoice
    from diffcl.inference.ensemble import Networks
    from diffcl.inference.interactive.completion import Completion
    from diffcl.inference.interactive.known import Meaning
    from diffcl.inference.interactive.planes import Plane
    from diffcl.inference.outlook import Outlook
    from diffcl.inference.pipeline import Outcome
    from diffcl.inference.results import Result
    from diffcl.io.in_memory import ImageInMemory
    from diffcl.models.weights import Model
    from diffcl.recipe import Recipe
    from diffcl.training.loop import Progress

Place = str | os.PathLike[str]
"""Name of a file or folder."""

STORE: Final = "models"
"""Folder of the user's models where no other is named, as on the command line."""


def load_model(model: Place, *, device: Literal["cpu", "cuda"] = "cpu", store: Place = STORE) -> Model:
    """The version of a model that is in use, ready to predict.

    Args:
        model: Name of a model of the store or of those that come with diffcl, or the folder of a version.
        device: Where it computes.
        store: Folder of your models, looked into before those of diffcl.

    Raises:
        UsageError: If there is no model of that name, or no such device.
        ModelError: If the model is damaged.
    """
    from diffcl.models.registry import ModelRegistry
    from diffcl.resources import models_folder

    return ModelRegistry(Path(store), models_folder()).load(os.fspath(model), usable_device(device))


def predict(
    scan: Case,
    model: Model | Place,
    *,
    networks: Networks = "ensemble",
    seed: int | None = None,
    engine: EngineChoice = "auto",
    probabilities: bool = False,
    on_outlook: Callable[[Outlook], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Segment one scan. The label lies exactly on the grid of the scan.

    The same scan, model and seed give the same label.

    Args:
        scan: What `read_scan` gave, or what it takes: a path, a SimpleITK or nibabel image, or `(array, affine)`. Where
            the model takes several sequences: the first of files `CASE_0000`, `CASE_0001`, ... or `CASE`, a 4D image,
            the folder of a DICOM study, a list of images in the order of the model, with None for an absent one, or a
            mapping of them by name, such as `{"FLAIR": "p07_flair.nii.gz", "T1": "p07_t1.nii.gz"}`.
        model: What `load_model` gave, or what it takes; a model that is used more than once is better loaded once.
        networks: The ensemble, or one network alone: `cs` or `ds`.
        seed: Of the noise from which DS starts; by default the model's own.
        engine: What computes the networks; `auto` is that with which the model was measured.
        probabilities: Whether the probability of each class is wanted as well.
        on_outlook: Told before most of the work in what the scan is unlike those of the training, and how long it will
            take. By default that is logged as a warning where there is something to say.
        on_progress: Told how many windows of the scan are done, and of how many.

    Raises:
        ScanError: If the scan cannot be used.
        DataError: If the values of the scan are in another unit than those of the training.
        UsageError: If there is no such model, the engine cannot be used with it, or the networks or the seed are none.
        ModelError: If the model is damaged.
    """
    from diffcl.data.sequences import read_case
    from diffcl.inference.outlook import log_outlook
    from diffcl.inference.predictor import Predictor
    from diffcl.inference.results import Result
    from diffcl.models.weights import Model

    _check(engine, seed, networks)
    loaded = model if isinstance(model, Model) else load_model(model)
    read = read_case(scan, loaded.info.recipe.sequences)
    prediction = Predictor(loaded, engine)(
        read,
        networks=networks,
        seed=seed,
        keep_probabilities=probabilities,
        on_outlook=on_outlook or log_outlook,
        on_progress=on_progress,
    )
    return Result(read, loaded.info, prediction)


def complete(
    scan: Case,
    drawn: Place | ImageInMemory | None = None,
    model: Model | Place | None = None,
    *,
    clicks: Mapping[str, Iterable[Sequence[int]]] | None = None,
    start: Place | ImageInMemory | None = None,
    known: Meaning | None = None,
    plane: Plane | None = None,
    recipe: Recipe | Place | None = None,
    seed: int | None = None,
    engine: EngineChoice = "auto",
) -> Completion:
    """Finish a label that is begun: drawn in some slices, or clicked. What is known comes out exactly as it was given.

    Without a model the outline is interpolated between drawn slices; with one its proposal is moved to go through what
    is drawn and denoised by DS. Clicks move the outline around them, along the image.

    Args:
        scan: What `read_scan` gave, or what it takes; several sequences as in `predict`.
        drawn: The partly drawn label map, on the grid of the scan: a file, a SimpleITK or nibabel image, or
            `(array, affine)`; 255 is unknown.
        model: What `load_model` gave, or what it takes.
        clicks: Of each class by name, or `background`, voxel indices `(i, j, k)` of the scan.
        start: A label map to start from, in place of the proposal of the model; likewise.
        known: What of `drawn` is known: `slices`, those in which something is drawn, background included; `voxels`, the
            drawn ones alone; `marked`, all but those of value 255. By default `marked` where there are such voxels.
        plane: In which the slices are drawn: `axial`, `coronal` or `sagittal`; found by default.
        recipe: Names the classes, where there is no model; otherwise every value is a class.
        seed: Of the noise that DS draws; by default the model's own.
        engine: What computes the networks.

    Raises:
        ScanError: If the scan or a label cannot be used.
        DataError: If a label lies on another grid, holds a value that is no class, or decides nothing.
        UsageError: If a click, the seed or the engine is none, no slices of the scan lie in the plane, or there is
            neither a model nor anything else to start from.
        NotFoundError: If there is no class of the name of a click.
        ModelError: If the model is damaged.
    """
    from diffcl.data.sequences import read_case
    from diffcl.inference.interactive.files import finish
    from diffcl.inference.predictor import Predictor
    from diffcl.models.weights import Model
    from diffcl.recipe import Recipe, load_recipe

    _check(engine, seed)
    loaded = model if model is None or isinstance(model, Model) else load_model(model)
    named = recipe if recipe is None or isinstance(recipe, Recipe) else load_recipe(os.fspath(recipe))
    read = read_case(scan, () if loaded is None else loaded.info.recipe.sequences)
    predictor = None if loaded is None else Predictor(loaded, engine)
    return finish(
        read,
        drawn,
        predictor,
        clicks=clicks,
        start=start,
        meaning=known,
        plane=plane,
        recipe=named,
        seed=seed,
    )


def predict_files(
    scans: Place | Iterable[Place],
    model: Model | Place,
    label: Place | None = None,
    *,
    uncertainty: Place | None = None,
    report: Place | None = None,
    picture: Place | None = None,
    probabilities: Place | None = None,
    new_only: bool = False,
    networks: Networks = "ensemble",
    seed: int | None = None,
    series: str | None = None,
    engine: EngineChoice = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
    store: Place = STORE,
    workers: int = 0,
    on_outlook: Callable[[Outlook], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_outcome: Callable[[Outcome, int, int], None] | None = None,
) -> list[Outcome]:
    """Segment files and write what is wanted of each, as `diffcl predict` does; one failure does not stop the others.

    A name that ends as a file of its kind is that file, for one scan only; any other name is a folder, in which each
    result is called like its scan. At least one result must be wanted.

    Args:
        scans: Image files, folders of them, folders with one DICOM series each, `.txt` lists or `.json` datalists.
        model: What `load_model` gave, or what it takes.
        label: `.nii.gz`, `.nii`, `.nrrd`, `.mha`, `.dcm` for a DICOM segmentation of a DICOM series, or a folder.
        uncertainty: `.nii.gz`, `.nii`, `.nrrd`, `.mha`, or a folder.
        report: `.json`, `.dcm` for a structured report beside a segmentation, or a folder.
        picture: `.png`, or a folder.
        probabilities: `.dcm`, or a folder.
        new_only: Whether scans whose label is there are left out.
        networks: The ensemble, or one network alone.
        seed: Of the noise from which DS starts; by default the model's own.
        series: SeriesInstanceUID to take from a folder of several series.
        engine: What computes the networks; `auto` is that with which the model was measured.
        device: Where to compute.
        store: Folder of your models, looked into before those of diffcl.
        workers: Processes that share the scans; 0 for this one.
        on_outlook: See `predict`; not told where workers share the scans.
        on_progress: Told how many windows of the present scan are done, and of how many; likewise.
        on_outcome: Told of each scan what became of it, how many scans are done, and of how many.

    Returns:
        What became of each scan, in the order in which they were done.

    Raises:
        UsageError: If there is no such model, engine or networks, the seed is none, or a result cannot go where it is
            wanted.
        OutputError: If a folder can neither be made nor written into.
        ModelError: If the model is damaged.
    """
    from diffcl.inference.outlook import log_outlook
    from diffcl.inference.outputs import Outputs
    from diffcl.inference.pipeline import (
        Settings,
        Watchers,
        folder_of,
        planned,
        predict_jobs,
        sequences_of,
    )
    from diffcl.models.weights import Model

    wanted = Outputs.named(
        label=label,
        uncertainty=uncertainty,
        report=report,
        picture=picture,
        probabilities=probabilities,
    )
    if not wanted.paths():
        raise UsageError("predict_files", "no result is wanted", "Name one, as in label='labels/'")
    named = [scans] if isinstance(scans, str | os.PathLike) else list(scans)
    name = folder_of(model) if isinstance(model, Model) else os.fspath(model)
    settings = Settings(name, Path(store), usable_device(device), engine, networks, seed, series)
    paths = [Path(scan) for scan in named]
    jobs = planned(paths, wanted, new_only=new_only, sequences=sequences_of(settings))
    watchers = Watchers(on_outlook or log_outlook, on_progress, on_outcome)
    return predict_jobs(jobs, settings, workers=workers, watchers=watchers)


def find_cases(
    data: Place, *, labelled: int | Place, validation: int | Place = 0, recipe: Recipe | Place | None = None
) -> Cases:
    """Split a folder with `images/` and `labels/` into labelled, unlabelled and validation cases.

    The order is that of `train.txt` where the folder has one, a name a line, else alphabetical. No file of `labels/` is
    opened for an unlabelled case.

    Args:
        data: The folder.
        labelled: How many scans, from the first, are labelled, or a text file of their names.
        validation: How many scans, from the last, validate, or a text file of their names.
        recipe: Needed where a case has several sequences; they are then files `CASE_0000`, `CASE_0001` and so on.

    Raises:
        DataError: If a folder, scan or label is missing; all that is missing is named at once.
        UsageError: If there are fewer scans than asked for.
    """
    from diffcl.data import cases
    from diffcl.recipe import Recipe, load_recipe

    first, last = (one if isinstance(one, int) else Path(one) for one in (labelled, validation))
    named = recipe if recipe is None or isinstance(recipe, Recipe) else load_recipe(os.fspath(recipe))
    return cases.find_cases(Path(data), labelled=first, validation=last, recipe=named)


def train(
    recipe: Recipe | Place,
    cases: Cases,
    out: Place,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    cache: Place | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Scores | None:
    """Train CS and DS on labelled and unlabelled scans, as `diffcl train` does.

    Args:
        recipe: Name of a recipe that comes with diffcl, a TOML file, or a recipe.
        cases: The scans, as `find_cases` finds them.
        out: Folder of the run; must be new unless resumed.
        steps: Steps in all; the phases of the recipe shrink or grow with it.
        minutes: Time from now to the published model, instead of steps; the schedule runs over it.
        resume: Continue a run that was stopped, to the same result.
        cache: Folder for prepared scans, which several runs may share; in the run by default.
        device: Where to compute.
        on_step: Told of every step.

    Returns:
        Scores of the best validation; None without validation scans.

    Raises:
        RecipeError: If the recipe is none.
        UsageError: If the folder is not new, or what is resumed is another run.
        DataError: If scans are unusable; all of them are named at once. Or if the training diverged, or too few steps
            fit into the minutes.
        OutputError: If the files of the run cannot be written.
    """
    from diffcl import training
    from diffcl.recipe import Recipe, load_recipe

    return training.train(
        cases,
        recipe if isinstance(recipe, Recipe) else load_recipe(os.fspath(recipe)),
        Path(out),
        plan=training.Plan(steps=steps, minutes=minutes),
        resume=resume,
        cache=None if cache is None else Path(cache),
        device=usable_device(device),
        on_step=on_step,
    )


def publish(run: Place, name: str, *, store: Place = STORE) -> Path:
    """Publish the best weights of a run as the new version of a model, which `load_model` then finds by its name.

    Args:
        run: Folder of a run of `train`.
        name: Name of the model; a known one gets a new version.
        store: Folder of your models.

    Returns:
        The folder of the version.

    Raises:
        UsageError: If the folder holds no run, or one that trained CS alone.
        DataError: If the run has no weights yet.
        OutputError: If the version cannot be written.
    """
    from diffcl.models.registry import ModelRegistry
    from diffcl.publishing import candidate
    from diffcl.resources import models_folder

    return candidate.publish(Path(run), name, ModelRegistry(Path(store), models_folder()))


def evaluate(predictions: Place, labels: Place, *, recipe: Recipe | Place | None = None) -> Scores:
    """Compare predicted labels with the true ones of the same names: Dice, Jaccard, HD95, ASD of every case and class.

    Args:
        predictions: A label map, image file or DICOM segmentation, or a folder of them.
        labels: The true one, or a folder of them; those without a prediction are left out.
        recipe: Names the classes; without it every value that occurs is a class.

    Raises:
        DataError: If a prediction has no label, lies on another grid, or has a value that the recipe does not know.
        ScanError: If a label map cannot be read.
    """
    from diffcl.evaluation.report import evaluate_folder
    from diffcl.recipe import Recipe, load_recipe

    known = recipe if recipe is None or isinstance(recipe, Recipe) else load_recipe(os.fspath(recipe))
    return evaluate_folder(Path(predictions), Path(labels), known)


def _check(engine: object, seed: object, networks: object = "ensemble") -> None:
    """Refuse what is no engine, seed or networks, before anything is read."""
    from diffcl.inference.engine import engine_choice
    from diffcl.inference.ensemble import networks_choice
    from diffcl.inference.noise import seed_choice

    engine_choice(engine)
    seed_choice(seed)
    networks_choice(networks)


def usable_device(device: str) -> str:
    """The device, where this machine has it.

    Raises:
        UsageError: If it has not.
    """
    import torch

    if device not in ("cpu", "cuda"):
        raise UsageError(f"device {device}", "there is none of that name", "Known devices: cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda", "this machine has no usable GPU", "Use cpu")
    return device
