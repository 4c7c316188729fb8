"""`diffcl predict`: labels of scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from diffcl.cli.console import DEFAULT_STORE, StoreOption, console, errors, print_json, progress_bar
from diffcl.errors import DiffclError, OutputError, UsageError

if TYPE_CHECKING:
    from diffcl.inference import Prediction, Predictor
    from diffcl.io import Scan


def predict(
    scans: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCAN...", help="NIfTI, NRRD or MetaImage files, or folders with one DICOM series each."
        ),
    ],
    model: Annotated[str, typer.Option(help="Name of a model (see `diffcl models`), or its folder.")],
    out: Annotated[
        Path,
        typer.Option(
            help="The label: an image file, `.dcm` for a DICOM segmentation of a DICOM series, or a folder, in which "
            "each label is named like its scan."
        ),
    ],
    uncertainty: Annotated[
        Path | None, typer.Option(help="Where to write the uncertainty, 0..1: an image file, or a folder.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Where to write volumes, doubt, times and warnings: a `.json` file, or a folder."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw the scan with its outline: a `.png` file, or a folder.")
    ] = None,
    networks: Annotated[
        Literal["ensemble", "cs", "ds"], typer.Option(help="The ensemble, or one network alone.")
    ] = "ensemble",
    series: Annotated[
        str | None, typer.Option(help="SeriesInstanceUID, for a DICOM folder that holds several series.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the noise that DS starts from; the model's own by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a scan.")] = False,
) -> None:
    """Segment scans. Each label lies exactly on its scan.

    One bad scan does not stop the others; the exit code is then 1.

    Examples:
        diffcl predict scan.nii.gz --model hippocampus --out label.nii.gz

        diffcl predict scans/*.nii.gz --model hippocampus --out labels/ --report reports/

        diffcl predict series-folder --model hippocampus --out segmentation.dcm
    """
    targets = {
        "label": _targets(scans, out, _image_suffix),
        "uncertainty": _targets(scans, uncertainty, _image_suffix),
        "report": _targets(scans, report, lambda scan: ".json"),
        "picture": _targets(scans, picture, lambda scan: ".png"),
    }
    _check_targets(scans, targets)
    from diffcl.inference import ModelStore, Predictor
    from diffcl.io import read_scan
    from diffcl.shipped import models_folder

    predictor = Predictor(ModelStore(store, models_folder()).load(model, _device(device)))
    failed = 0
    with progress_bar("Segmenting", len(scans)) as bar:
        for index, path in enumerate(scans):
            places = {kind: paths[index] for kind, paths in targets.items() if paths}
            try:
                scan = read_scan(path, series_uid=series)
                prediction = predictor(scan, networks=networks, seed=seed)
                write(predictor, scan, prediction, places)
            except DiffclError as error:
                failed += 1
                _say_error(path, error, as_json=as_json)
            else:
                _say(prediction, places["label"], as_json=as_json)
            bar.advance(bar.task_ids[0])
    if failed:
        raise typer.Exit(1)


def write(predictor: Predictor, scan: Scan, prediction: Prediction, places: dict[str, Path]) -> None:
    """Write what was asked for of one prediction.

    Args:
        predictor: What made it.
        scan: What it was made of.
        prediction: What was found.
        places: Path of the `label` and, where wanted, of `uncertainty`, `report` and `picture`.
    """
    from diffcl.io import write_image
    from diffcl.io.atomic import write_text

    info = predictor.model.info
    if places["label"].suffix.lower() == ".dcm":
        from diffcl.io.dicom_seg import write_seg

        if scan.series is None:
            raise OutputError(places["label"], "a DICOM segmentation needs a DICOM series as its scan",
                              "Write an image file, for example .nii.gz")  # fmt: skip
        write_seg(prediction.label, scan.series, info.recipe.labels, places["label"],
                  model_name=info.name, model_version=info.version)  # fmt: skip
    else:
        write_image(prediction.label, places["label"])
    if "uncertainty" in places:
        write_image(prediction.uncertainty, places["uncertainty"])
    if "report" in places:
        write_text(places["report"], prediction.report.model_dump_json(indent=2) + "\n")
    if "picture" in places:
        from diffcl.evaluation.picture import draw_prediction

        draw_prediction(scan, prediction, info.recipe.labels, places["picture"])


def _targets(scans: list[Path], out: Path | None, suffix: Any) -> list[Path]:
    """Where the result of each scan goes: `out` itself when it is a file's name, else a file inside of it."""
    if out is None:
        return []
    from diffcl.io.formats import DICOM_SUFFIX, image_suffix, scan_name

    is_file = image_suffix(out) is not None or out.suffix.lower() in (DICOM_SUFFIX, ".json", ".png")
    if is_file and not out.is_dir():
        if len(scans) > 1:
            raise UsageError(out, f"is one file for {len(scans)} scans", "Name a folder")
        return [out]
    return [out / f"{scan_name(scan)}{suffix(scan)}" for scan in scans]


def _image_suffix(scan: Path) -> str:
    from diffcl.io.formats import image_suffix

    suffix = None if scan.is_dir() else image_suffix(scan)
    return ".nii.gz" if suffix in (None, ".nhdr", ".mhd") else str(suffix)


def _check_targets(scans: list[Path], targets: dict[str, list[Path]]) -> None:
    """Refuse results that would overwrite a scan or each other, and make their folders."""
    inputs = {scan.resolve() for scan in scans}
    seen: set[Path] = set()
    for target in (path for paths in targets.values() for path in paths):
        place = target.resolve()
        if place in inputs:
            raise UsageError(target, "is the scan itself", "Write the result elsewhere")
        if place in seen:
            raise UsageError(
                target, "would be written twice", "Give scans of different names, or more folders"
            )
        seen.add(place)
    for folder in sorted({path.parent for path in seen}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                folder, f"cannot be made ({error.strerror})", "Choose another folder"
            ) from error


def _device(name: str) -> str:
    import torch

    if name not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}", "is not a device", "Use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda", "this machine has no usable GPU", "Use cpu")
    return name


def _say_error(path: Path, error: DiffclError, *, as_json: bool) -> None:
    if as_json:
        print_json({"scan": str(path), "error": str(error)})
    else:
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)


def _say(prediction: Prediction, label: Path, *, as_json: bool) -> None:
    report = prediction.report
    if as_json:
        print_json({**report.model_dump(), "label": str(label)})
        return
    volumes = ", ".join(f"{name} {volume:.2f} ml" for name, volume in report.volumes_ml.items())
    doubt = "" if report.disagreement is None else f", doubt {report.disagreement:.2f}"
    seconds = sum(report.seconds.values())
    console.print(f"[bold]{escape(report.case)}[/bold]: {volumes}{doubt}, {seconds:.1f} s, {escape(str(label))}",
                  highlight=False, soft_wrap=True)  # fmt: skip
    for warning in report.warnings:
        errors.print(
            f"  {escape(report.case)}: {escape(warning)}", style="yellow", highlight=False, soft_wrap=True
        )
