"""`diffcl phantom`: synthetic scans with computed truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcl.cli.console import console


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder; scans go into `images/`, truth into `labels/`.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; each further one has the next.")] = 0,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write the scans as DICOM series.")] = False,
) -> None:
    """Make synthetic hippocampus-like MR crops for trying things. The same seed makes the same scan.

    Every second one is oblique, anisotropic or mirrored.

    Example:
        diffcl phantom trial/ --count 12
    """
    from diffcl.phantom import varied_phantom, write_phantom

    for number in range(seed, seed + count):
        write_phantom(varied_phantom(number), out, f"phantom-{number:03d}", dicom=dicom)
    console.print(f"{out}: {count} synthetic scans with labels", highlight=False, soft_wrap=True)
