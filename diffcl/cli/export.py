"""`diffcl export`: a model in a form that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcl.cli.console import say
from diffcl.cli.options import DEFAULT_STORE, StoreOption
from diffcl.errors import UsageError
from diffcl.files import make_folder


def export(
    model: Annotated[str, typer.Argument(help="Name of a model (see `diffcl models`), or its folder.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="CS and one step of DS as ONNX files, cs.onnx and ds.onnx.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for files that hold their weights. By default they lie in the model's own folder, refer to "
            "its weights, and are used by `--engine`."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the networks of a model for other programs. Each file is checked before it is put in place.

    - `diffcl export hippocampus --onnx --out onnx/`
    - `diffcl export my-models/liver/3 --onnx`
    """
    if not onnx:
        raise UsageError("diffcl export", "no form is named", "Add --onnx")
    from diffcl.models import ModelRegistry
    from diffcl.models.onnx.export import write_onnx
    from diffcl.resources import models_folder

    known = ModelRegistry(store, models_folder())
    folder = known.folder(model)
    if out is not None:
        make_folder(out)
    for path in write_onnx(known.load(model), out or folder, share_weights=out is None):
        say(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, answers as torch does")
