"""`diffcl phantom`: synthetic scans with computed truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diffcl.cli.console import console
from diffcl.errors import OutputError

_GRIDS: tuple[dict[str, Any], ...] = (
    {},
    {"rotation": (12.0, -8.0, 15.0)},
    {"orientation": "LPS", "side": "right"},
    {"spacing": (0.9, 0.9, 2.5), "rotation": (0.0, 10.0, 0.0)},
    {"orientation": "ASR", "spacing": (0.8, 0.8, 1.5)},
    {"side": "right", "rotation": (-20.0, 5.0, -10.0), "orientation": "LAS"},
)
"""How the scans lie: one after the other upright, oblique, flipped, anisotropic, sagittal, oblique and flipped."""


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder; scans go into `images/`, truth into `labels/`.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; each further one has the next.")] = 0,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Write the scans as DICOM series, a folder each.")
    ] = False,
) -> None:
    """Make synthetic hippocampus-like MR crops for trying things. The same seed makes the same scan.

    They lie upright, oblique, flipped, anisotropic and sagittal in turn.

    Example:
        diffcl phantom trial/ --count 12
    """
    from diffcl.io import write_image
    from diffcl.io.dicom_write import write_series
    from diffcl.phantom import make_phantom, phantom_grid

    for kind in ("images", "labels"):
        try:
            (out / kind).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                out / kind, f"cannot be made ({error.strerror})", "Choose another folder"
            ) from error
    for number in range(seed, seed + count):
        variant = _GRIDS[number % len(_GRIDS)]
        made = make_phantom(number, phantom_grid(**variant), side=variant.get("side", "left"))
        name = f"phantom-{number:03d}"
        if dicom:
            write_series(made.image, out / "images" / name, name=name)
        else:
            write_image(made.image, out / "images" / f"{name}.nii.gz")
        write_image(made.label, out / "labels" / f"{name}.nii.gz")
    console.print(f"{out}: {count} synthetic scans with labels", highlight=False, soft_wrap=True)
