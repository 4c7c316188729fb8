"""What computes the networks of a model: torch, or ONNX Runtime.

Each version is computed by the engine with which its scores were measured, unless another is asked for. So what was
measured is what users get, and a label does not depend on the machine's mood or on what a cache remembers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from torch import Tensor

from diffcl.errors import ModelError, UsageError
from diffcl.models.metadata import EngineName
from diffcl.models.onnx.network import FILES, load_network
from diffcl.models.weights import Model

EngineChoice = Literal["auto", "torch", "onnx"]


@dataclass(frozen=True)
class Engine:
    """The networks of a model as functions.

    Attributes:
        name: What computes them.
        cs: Image `(B, C, X, Y, Z)`, C its sequences, to class logits `(B, K, X, Y, Z)`.
        ds: Image, noisy label map `(B, K, X, Y, Z)` and time `(B,)` to class logits.
    """

    name: EngineName
    cs: Callable[[Tensor], Tensor]
    ds: Callable[[Tensor, Tensor, Tensor], Tensor]


def choose_engine(model: Model, choice: EngineChoice = "auto") -> Engine:
    """The engine of that name.

    `auto` is the one that the version's record names, with which its scores were measured: torch, where it names
    none. On a GPU it is torch, for ONNX files are for processors.

    Raises:
        ModelError: If ONNX files are to be used and are missing or cannot be.
        UsageError: If `onnx` is asked for and the model is not on the CPU.
    """
    on_cpu = model.device.type == "cpu"
    if choice == "onnx" and not on_cpu:
        raise UsageError("--engine onnx", "computes on the CPU", "Use --engine torch on a GPU")
    name = (model.info.engine if on_cpu else "torch") if choice == "auto" else choice
    return _onnx(model) if name == "onnx" else Engine("torch", model.cs, model.ds)


def engine_choice(text: str) -> EngineChoice:
    """The engine of that name.

    Raises:
        UsageError: If there is none.
    """
    if text not in get_args(EngineChoice):
        raise UsageError(
            f"engine {text[:80]}", "there is none of that name", "Known engines: auto, torch, onnx"
        )
    return cast(EngineChoice, text)


def _onnx(model: Model) -> Engine:
    if model.folder is None:
        raise ModelError(model.info.name, "is in memory alone and has no ONNX files", "Use --engine torch")
    cs, ds = (load_network(model.folder / file, model.info, network) for network, file in FILES.items())
    return Engine("onnx", cs, ds)
