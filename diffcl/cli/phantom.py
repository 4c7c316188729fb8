"""`diffcl phantom`: synthetic scans with computed truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffcl.cli.console import progress_bar, say
from diffcl.files import make_folder

if TYPE_CHECKING:
    from diffcl.phantom import Phantom
    from diffcl.phantom.heart import HeartPhantom

Organ = Literal["hippocampus", "heart"]


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder; scans go into `images/`, their truth into `labels/`.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; each further one has the next.")] = 0,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Write the scans as DICOM series, a folder each.")
    ] = False,
    organ: Annotated[
        Organ, typer.Option(help="Crops of a head around a hippocampus, or short-axis stacks of a heart.")
    ] = "hippocampus",
) -> None:
    """Make synthetic MR scans for trying things. The same seed makes the same scan.

    Those of a hippocampus lie upright, oblique, on the right side, with flat voxels, sagittal and coronal in turn.
    Those of a heart are ten thick slices, oblique to the patient.

    - `diffcl phantom trial/ --count 12`
    - `diffcl phantom hearts/ --organ heart --count 2`
    - `diffcl phantom series/ --count 1 --seed 7 --dicom`
    """
    with progress_bar("Making", count) as bar:
        for done, number in enumerate(range(seed, seed + count), start=1):
            write_phantom(out, number, dicom=dicom, organ=organ)
            bar.show(done)
    say(f"{out}: {count} synthetic scans with labels")


def write_phantom(folder: Path, seed: int, *, dicom: bool = False, organ: Organ = "hippocampus") -> None:
    """Write one scan into `images/` of a folder and its truth into `labels/`."""
    from diffcl.io import write_image
    from diffcl.io.dicom.series_write import write_series

    if organ == "heart":
        from diffcl.phantom.heart import make_heart_phantom

        made: Phantom | HeartPhantom = make_heart_phantom(seed)
        name = f"heart-{seed:03d}"
    else:
        from diffcl.phantom import varied_phantom

        made = varied_phantom(seed)
        name = f"phantom-{seed:03d}"
    for kind in ("images", "labels"):
        make_folder(folder / kind)
    if dicom:
        write_series(made.image, folder / "images" / name, name=name)
    else:
        write_image(made.image, folder / "images" / f"{name}.nii.gz")
    write_image(made.label, folder / "labels" / f"{name}.nii.gz")
