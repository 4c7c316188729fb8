"""`diffcl predict`: labels of scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffcl.cli.console import progress_bar, say, say_json, warn
from diffcl.cli.options import DEFAULT_STORE, DeviceOption, EngineOption, StoreOption, usable
from diffcl.cli.outputs import plan
from diffcl.cli.scan_list import listed
from diffcl.cli.segment import Job, Outcome, Settings, loaded, segment


def predict(
    scans: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCAN...",
            help="NIfTI, NRRD or MetaImage files, a folder of them, folders with one DICOM series each, a `.txt` "
            "file with one of them on each line, or a `.json` datalist.",
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
            help="Write volumes, doubt, times and warnings as a `.json` file, or into a folder; volumes and "
            "doubt as a DICOM structured report if it ends in `.dcm`."
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
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that share the scans; 0 segments them in this one.")
    ] = 0,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Dask scheduler whose workers segment, as in `tcp://host:8786`."
        ),
    ] = None,
    new_only: Annotated[
        bool,
        typer.Option("--new-only", help="Leave out scans whose label is there, as after an interruption."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a scan, one a line.")
    ] = False,
) -> None:
    """Segment scans. Each label lies exactly on the grid of its scan.

    A scan that cannot be used does not stop the others; the exit code is then 1.

    - `diffcl predict scan.nii.gz --model hippocampus --out label.nii.gz`
    - `diffcl predict scans/ --model hippocampus --out labels/ --report reports/`
    - `diffcl predict series-folder --model hippocampus --out segmentation.dcm --picture look.png`
    - `diffcl predict series-folder --model hippocampus --out seg.dcm --report sr.dcm --probabilities likely.dcm`
    - `diffcl predict thousands.txt --model hippocampus --out labels/ --workers 8 --new-only`
    """
    scans = listed(scans)
    outputs = plan(scans, out, uncertainty=uncertainty, report=report, picture=picture,
                   probabilities=probabilities)  # fmt: skip
    settings = Settings(model, store, usable(device), engine, networks, seed, series)
    jobs = [Job(scan, output) for scan, output in zip(scans, outputs, strict=True)]
    if new_only:
        jobs = [job for job in jobs if not job.output.label.exists()]
    loaded(settings)  # before anything is sent to workers: they would all say that it is missing
    if workers or cluster:
        from diffcl.cli.workers import segment_on_workers

        outcomes = segment_on_workers(jobs, settings, workers, cluster)
    else:
        outcomes = (segment(job, settings) for job in jobs)
    failed = 0
    with progress_bar("Segmenting", len(jobs)) as bar:
        for done, outcome in enumerate(outcomes, start=1):
            failed += outcome.report is None
            tell(outcome, as_json=as_json)
            bar.show(done)
    if failed:
        raise typer.Exit(1)


def tell(outcome: Outcome, *, as_json: bool) -> None:
    """Say what was found in one scan, or why nothing was."""
    scan, found = str(outcome.job.scan), outcome.report
    if found is None:
        warn(outcome.error)
        if as_json:
            say_json({"scan": scan, "error": outcome.error})
        return
    if as_json:
        say_json({"scan": scan, "label": str(outcome.job.output.label), **found.model_dump()})
        return
    volumes = ", ".join(f"{name} {volume:.2f} ml" for name, volume in found.volumes_ml.items())
    label = outcome.job.output.label
    say(f"{found.case}: {volumes}, doubt {found.doubt:.2f}, {sum(found.seconds.values()):.1f} s -> {label}")
    for warning in found.warnings:
        warn(f"{found.case}: {warning}", style="yellow")
