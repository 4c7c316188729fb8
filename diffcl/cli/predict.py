"""`diffcl predict`: labels of scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffcl.api import usable_device
from diffcl.cli.console import Bar, progress_bar, say, say_json, warn
from diffcl.cli.options import DEFAULT_STORE, DeviceOption, EngineOption, StoreOption
from diffcl.errors import UsageError

if TYPE_CHECKING:
    from diffcl.inference.outlook import Outlook
    from diffcl.inference.pipeline import Outcome


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
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=FILE",
            help="A further sequence of the only scan, by its name in the model's recipe; may be repeated.",
        ),
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
    from diffcl.inference.outputs import Outputs
    from diffcl.inference.pipeline import Settings, Watchers, planned, predict_jobs, sequences_of

    wanted = Outputs(out, uncertainty, report, picture, probabilities)
    settings = Settings(model, store, usable_device(device), engine, networks, seed, series)
    jobs = planned(
        scans, wanted, new_only=new_only, sequences=sequences_of(settings), others=named_images(others or [])
    )
    with progress_bar("Segmenting", len(jobs)) as bar:
        teller = Teller(bar, as_json=as_json)
        watchers = Watchers(teller.outlook, bar.show_part, teller.outcome)
        outcomes = predict_jobs(jobs, settings, workers=workers, cluster=cluster, watchers=watchers)
    if any(outcome.report is None for outcome in outcomes):
        raise typer.Exit(1)


def named_images(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """Names and files of `NAME=FILE`.

    >>> named_images(["T1=p07_t1.nii.gz"])
    [('T1', ...Path('p07_t1.nii.gz'))]

    Raises:
        UsageError: If one is not of this form, or names a sequence twice.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not (name and equals and file) or name in found:
            what = "names it twice" if name in found else "is not of the form NAME=FILE"
            raise UsageError(
                f"--with {text[:80]}", what, "Give each further sequence once, as in T1=p07_t1.nii.gz"
            )
        found[name] = Path(file)
    return list(found.items())


class Teller:
    """Says what is known of each scan, once: what speaks against it before it is segmented, and what was found."""

    def __init__(self, bar: Bar, *, as_json: bool) -> None:
        self._bar = bar
        self._as_json = as_json
        self._told: tuple[str, ...] = ()

    def outlook(self, outlook: Outlook) -> None:
        """Say what a person should know before waiting."""
        for sentence in outlook.sentences():
            warn(sentence, style="yellow")
        self._told = outlook.warnings

    def outcome(self, outcome: Outcome, done: int, total: int) -> None:
        """Say what was found in one scan, or why nothing was."""
        scan, found, label = str(outcome.job.scan), outcome.report, outcome.job.output.label
        told, self._told = self._told, ()
        self._bar.show(done, total)
        if found is None:
            warn(outcome.error)
            if self._as_json:
                say_json({"scan": scan, "error": outcome.error})
            return
        if self._as_json:
            say_json({"scan": scan, "label": str(label), **found.model_dump()})
            return
        volumes = ", ".join(f"{name} {volume:.2f} ml" for name, volume in found.volumes_ml.items())
        seconds = sum(found.seconds.values())
        say(f"{found.case}: {volumes}, doubt {found.doubt:.2f}, {seconds:.1f} s -> {label}")
        for warning in found.warnings:
            if warning not in told:
                warn(f"{found.case}: {warning}", style="yellow")
