"""`diffcl prepare`: public sets in the form that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffcl.cli.console import progress_bar, say, warn
from diffcl.errors import UsageError


def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of the set as it was downloaded.")],
    form: Annotated[
        Literal["left-atrium-h5", "h5", "brats", "pancreas-ct"], typer.Option(help="How the set is held.")
    ],
    out: Annotated[Path, typer.Option(help="New folder; gets `images/` and `labels/`.")],
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            help="Voxel size in mm of HDF5 files, which do not hold it; by default 0.625 for "
            "left-atrium-h5 and 1 for h5.",
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        Path | None,
        typer.Option(help="File of the names wanted, one a line, in the order to be kept as `train.txt`."),
    ] = None,
) -> None:
    """Turn a public set into `images/` and `labels/`, which `diffcl train` reads.

    Everything is read and checked first: what is missing or unusable is named at once, and labels that look
    mirrored or shifted are pointed at.

    - left-atrium-h5: NAME/mri_norm2.h5, as UA-MT and others exchange it
    - h5: NAME_norm.h5 with datasets image and label
    - brats: NAME_flair.nii.gz beside NAME_seg.nii.gz, as BraTS 2019 has it
    - pancreas-ct: PANCREAS_0001/.../*.dcm and label0001.nii.gz, as NIH Pancreas-CT has it

    Example: `diffcl prepare download/ --form left-atrium-h5 --order train.list --out scans/`
    """
    from diffcl.conversion.public_sets import convert

    names = None
    if order is not None:
        try:
            names = [line.strip() for line in order.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(order, "cannot be read", "Give a text file with one name a line") from error
    if not source.is_dir():
        raise UsageError(source, "no such folder", "Name the folder of the set")
    with progress_bar("Reading") as bar:
        remarks = convert(source, form, out, spacing=spacing, order=names, on_case=bar.show)
    for remark in remarks:
        warn(remark, style="yellow")
    count = len(list((out / "images").iterdir()))
    say(f"{out}: {count} scans with labels")
