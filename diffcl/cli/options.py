"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffcl.errors import UsageError

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store", envvar="DIFFCL_STORE", help="Folder of your models, looked into before those of diffcl."
    ),
]
DEFAULT_STORE = Path("models")

EngineOption = Annotated[
    Literal["auto", "torch", "onnx"],
    typer.Option(
        "--engine",
        help="What computes the networks: torch, ONNX Runtime, or that with which the model was measured.",
    ),
]

DeviceOption = Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Where to compute.")]


def usable(device: str) -> str:
    """The device, where this machine has it.

    Raises:
        UsageError: If it has not.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda", "this machine has no usable GPU", "Use cpu")
    return device
