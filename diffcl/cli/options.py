"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store", envvar="DIFFCL_STORE", help="Folder of your models, looked into before those of diffcl."
    ),
]
DEFAULT_STORE = Path("models")

EngineOption = Annotated[
    Literal["auto", "torch", "bfloat16", "onnx"],
    typer.Option(
        "--engine",
        help="What computes the networks: torch, torch in bfloat16, ONNX Runtime, or one with which the model was "
        "measured.",
    ),
]

DeviceOption = Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Where to compute.")]
