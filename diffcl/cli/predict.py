"""`diffcl predict`: labels of scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffcl.cli.console import progress_bar, say, say_json, warn
from diffcl.cli.options import DEFAULT_STORE, DeviceOption, EngineOption, StoreOption, usable
from diffcl.cli.outputs import Outputs, make_folder, plan
from diffcl.errors import DiffclError, OutputError

if TYPE_CHECKING:
    from diffcl.inference import ModelInfo, Prediction
    from diffcl.io import Scan
    from diffcl.io.dicom import DicomSeries


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
            help="The label: an image file; `.dcm` for a DICOM segmentation of a DICOM series; or a folder, in "
            "which each label is called like its scan."
        ),
    ],
    uncertainty: Annotated[
        Path | None, typer.Option(help="Write the uncertainty, 0 to 1, as an image file, or into a folder.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write volumes, disagreement, times and warnings as a `.json` file, or into a folder; volumes and "
            "disagreement as a DICOM structured report if it ends in `.dcm`."
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the scan with its outline as a `.png` file, or into a folder.")
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            help="Write the probability of every class as a fractional DICOM segmentation, `.dcm`, or into a folder."
        ),
    ] = None,
    networks: Annotated[
        Literal["ensemble", "cs", "ds"], typer.Option(help="The ensemble, or one network alone.")
    ] = "ensemble",
    series: Annotated[
        str | None, typer.Option(help="SeriesInstanceUID, for a DICOM folder that holds several series.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the noise that DS starts from; by default the model's own.")
    ] = None,
    device: DeviceOption = "cpu",
    engine: EngineOption = "auto",
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a scan, one a line.")
    ] = False,
) -> None:
    """Segment scans. Each label lies exactly on the grid of its scan.

    A scan that cannot be used does not stop the others; the exit code is then 1.

    - `diffcl predict scan.nii.gz --model hippocampus --out label.nii.gz`
    - `diffcl predict scans/*.nii.gz --model hippocampus --out labels/ --report reports/`
    - `diffcl predict series-folder --model hippocampus --out segmentation.dcm --picture look.png`
    - `diffcl predict series-folder --model hippocampus --out seg.dcm --report sr.dcm --probabilities likely.dcm`
    """
    outputs = plan(scans, out, uncertainty=uncertainty, report=report, picture=picture,
                   probabilities=probabilities)  # fmt: skip
    from diffcl.inference import ModelStore, Predictor
    from diffcl.io import read_scan
    from diffcl.shipped import models_folder

    predictor = Predictor(ModelStore(store, models_folder()).load(model, usable(device)), engine)
    failed = 0
    with progress_bar("Segmenting", len(scans)) as bar:
        for done, (path, output) in enumerate(zip(scans, outputs, strict=True), start=1):
            try:
                scan = read_scan(path, series_uid=series)
                if scan.series is None and (wanted := output.dicom()):
                    raise OutputError(wanted, "a DICOM segmentation needs a DICOM series as its scan",
                                      "Write an image file, for example .nii.gz")  # fmt: skip
                prediction = predictor(scan, networks=networks, seed=seed,
                                       keep_probabilities=probabilities is not None)  # fmt: skip
                write(scan, prediction, predictor.model.info, output)
            except DiffclError as error:
                failed += 1
                warn(str(error))
                if as_json:
                    say_json({"scan": str(path), "error": str(error)})
            else:
                tell(path, prediction, output, as_json=as_json)
            bar.show(done)
    if failed:
        raise typer.Exit(1)


def write(scan: Scan, prediction: Prediction, info: ModelInfo, output: Outputs) -> None:
    """Write what was asked for of one prediction."""
    from diffcl.io import write_image
    from diffcl.io.atomic import write_text

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
        from diffcl.evaluation.picture import draw_prediction

        found = prediction.report
        title = f"{found.case}, by {found.model} {found.version}"
        if found.disagreement is not None:
            title += f", disagreement {found.disagreement:.2f}"
        draw_prediction(scan.image, prediction.label, prediction.uncertainty, info.recipe.labels,
                        output.picture, title=title)  # fmt: skip


def write_dicom(series: DicomSeries, prediction: Prediction, info: ModelInfo, output: Outputs) -> None:
    """Write what goes back to the archive of a series."""
    from diffcl.io.dicom_seg import write_probability_seg, write_seg
    from diffcl.io.dicom_sr import write_sr

    labels, found = info.recipe.labels, prediction.report
    if output.label.suffix.lower() == ".dcm":
        write_seg(prediction.label, series, labels, output.label,
                  model_name=info.name, model_version=info.version)  # fmt: skip
    if output.probabilities is not None:
        write_probability_seg(prediction.probabilities, series, labels, output.probabilities,
                              model_name=info.name, model_version=info.version)  # fmt: skip
    if output.report is not None and output.report.suffix.lower() == ".dcm":
        write_sr(found.volumes_ml, found.disagreement, output.label, series, labels, output.report,
                 model_name=info.name, model_version=info.version)  # fmt: skip


def tell(path: Path, prediction: Prediction, output: Outputs, *, as_json: bool) -> None:
    """Say what was found in one scan."""
    found = prediction.report
    if as_json:
        say_json({"scan": str(path), "label": str(output.label), **found.model_dump()})
        return
    volumes = ", ".join(f"{name} {volume:.2f} ml" for name, volume in found.volumes_ml.items())
    doubt = "" if found.disagreement is None else f", disagreement {found.disagreement:.2f}"
    say(f"{found.case}: {volumes}{doubt}, {sum(found.seconds.values()):.1f} s -> {output.label}")
    for warning in found.warnings:
        warn(f"{found.case}: {warning}", style="yellow")
