"""`diffcl complete`: a label that is begun, finished."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffcl.api import usable_device
from diffcl.cli.console import say, warn
from diffcl.cli.options import DEFAULT_STORE, DeviceOption, EngineOption, StoreOption


def complete(
    scan: Annotated[
        Path, typer.Argument(help="A NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.")
    ],
    drawn: Annotated[
        Path, typer.Option(help="The partly drawn label map, on the grid of the scan; 255 is unknown.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The whole label: `.nii.gz`, `.nii`, `.nrrd` or `.mha`; or a folder, in which it is called like the "
            "scan."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a model (see `diffcl models`), or its folder. Without one the outline is interpolated "
            "between the drawn slices."
        ),
    ] = None,
    known: Annotated[
        Literal["slices", "voxels", "marked"] | None,
        typer.Option(
            help="What is known: the slices in which something is drawn, background included; the drawn voxels alone; "
            "or all but the voxels of value 255. By default the last where there are such voxels, otherwise the first."
        ),
    ] = None,
    plane: Annotated[
        Literal["axial", "coronal", "sagittal"] | None,
        typer.Option(
            help="In which the slices are drawn; by default the one across which the label ends abruptly."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Names the classes, where there is no model: a recipe's name or file.")
    ] = None,
    uncertainty: Annotated[
        Path | None, typer.Option(help="Write the uncertainty, 0 to 1, as an image file, or into a folder.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the noise that DS draws; by default the model's own.")
    ] = None,
    device: DeviceOption = "cpu",
    engine: EngineOption = "auto",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Finish a label of which some slices are drawn. What is drawn comes out exactly as it was.

    - `diffcl complete scan.nii.gz --drawn some-slices.nii.gz --model hippocampus --out label.nii.gz`
    - `diffcl complete first-scan.nii.gz --drawn some-slices.nii.gz --out label.nii.gz`
    """
    from diffcl.api import complete as finish
    from diffcl.api import load_model
    from diffcl.inference.interactive.made_from import MadeFrom
    from diffcl.io.case_files import first_of

    loaded = None if model is None else load_model(model, device=usable_device(device), store=store)  # type: ignore[arg-type]
    sequences = () if loaded is None else loaded.info.recipe.sequences
    MadeFrom(first_of(scan) if sequences else scan, sequences, (drawn,)).outputs(out, uncertainty)
    found = finish(scan, drawn, loaded, known=known, plane=plane, recipe=recipe, seed=seed, engine=engine)
    say(f"{found.known}.")
    for warning in found.warnings:
        warn(warning, style="yellow")
    paths = found.save(out, uncertainty)
    volumes = ", ".join(f"{name} {volume:.2f} ml" for name, volume in found.volumes_ml.items())
    say(f"{volumes or 'nothing'}, {found.seconds:.1f} s -> {' and '.join(map(str, paths))}")
