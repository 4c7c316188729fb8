"""A user's code, which a type checker must accept as it stands; it is never run."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

import diffcl


def volumes(files: list[Path]) -> dict[str, dict[str, float]]:
    """Volumes of many scans with one model."""
    model: diffcl.Model = diffcl.load_model("hippocampus", device="cpu", store=Path("models"))
    found: dict[str, dict[str, float]] = {}
    for file in files:
        try:
            result: diffcl.Result = diffcl.predict(file, model, networks="ensemble", seed=3, engine="auto")
        except diffcl.DiffclError as error:
            print(error)
            continue
        found[result.report.case] = result.volumes_ml
        result.save(file.with_suffix(".label.nii.gz"), picture="look.png", report=Path("report.json"))
    return found


def every_form(
    image: sitk.Image, array: NDArray[np.float32], affine: NDArray[np.float64]
) -> list[diffcl.Scan]:
    """A scan from whatever holds it."""
    return [
        diffcl.read_scan("scan.nii.gz", name="p07"),
        diffcl.read_scan(Path("series"), series_uid="1.2.3"),
        diffcl.read_scan(image),
        diffcl.read_scan(nibabel.load("scan.nii.gz")),
        diffcl.read_scan(nibabel.Nifti1Image(array, affine)),
        diffcl.read_scan((array, affine)),
        diffcl.read_scan(([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], np.eye(4))),
    ]


def places(result: diffcl.Result) -> tuple[NDArray[np.uint8], NDArray[np.float64], float]:
    """Arrays, geometry and numbers of a result."""
    label: NDArray[np.uint8] = result.label_array()
    grid: diffcl.Geometry = diffcl.Geometry.of(result.label)
    images: dict[str, sitk.Image] = result.probabilities
    report: diffcl.Report = result.report
    print(images, report.warnings, grid.spacing)
    return label, result.affine, result.doubt


def finish(
    begun: sitk.Image, array: NDArray[np.uint8], affine: NDArray[np.float64]
) -> list[NDArray[np.uint8]]:
    """A label that is begun, in whatever form."""
    completions: list[diffcl.Completion] = [
        diffcl.complete("scan.nii.gz", "begun.nii.gz", "hippocampus", clicks={"background": [[3, 3, 3]]}),
        diffcl.complete(Path("scan.nii.gz"), begun),
        diffcl.complete("scan.nii.gz", nibabel.load("begun.nii.gz")),
        diffcl.complete("scan.nii.gz", (array, affine), start=(array, affine)),
    ]
    return [completion.label_array() for completion in completions]


def warn(outlook: diffcl.Outlook) -> None:
    """Say what is known before the work."""
    for sentence in outlook.sentences():
        print(sentence)


def tell(outcome: diffcl.Outcome, done: int, total: int) -> None:
    """Say what became of a scan."""
    print(done, total, outcome.error if outcome.report is None else outcome.report.doubt)


def batch(scans: list[str]) -> list[diffcl.Outcome]:
    """Files to files."""
    return diffcl.predict_files(
        scans,
        "hippocampus",
        "labels/",
        report="reports/",
        new_only=True,
        on_outlook=warn,
        on_progress=lambda done, total: print(done / total),
        on_outcome=tell,
    )


def learn(data: Path) -> diffcl.Scores:
    """From scans to a published model and its scores."""

    def step(progress: diffcl.Progress) -> None:
        print(progress.step, progress.losses["L_c"])

    cases: diffcl.Cases = diffcl.find_cases(data, labelled=8, validation="validation.txt")
    labelled: tuple[diffcl.LabelledCase, ...] = cases.labelled
    unlabelled: tuple[diffcl.UnlabelledCase, ...] = cases.unlabelled
    print(len(labelled), len(unlabelled), diffcl.__version__)
    recipe: diffcl.Recipe = diffcl.load_model("hippocampus").info.recipe
    scores: diffcl.Scores | None = diffcl.train(recipe, cases, "runs/first", steps=100, on_step=step)
    print("" if scores is None else scores.dice)
    folder: Path = diffcl.publish("runs/first", "mine", store="models")
    print(folder)
    table = diffcl.evaluate("labels/", data / "labels", recipe=recipe)
    print(table.summary("all").mean["dice"])
    return table
