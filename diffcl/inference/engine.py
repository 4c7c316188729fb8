"""What computes the networks of a model: torch in float32 or in bfloat16, or ONNX Runtime.

Each version is computed by the engine with which its scores were measured, unless another is asked for. So what was
measured is what users get, and a label does not depend on the machine's mood or on what a cache remembers. The one
exception is measured too: a version of which validation found that bfloat16 costs it no Dice is computed in bfloat16
by the processors that are made for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from torch import Tensor, nn

from diffcl.errors import ModelError, UsageError, short
from diffcl.models.metadata import EngineName, ModelInfo
from diffcl.models.onnx.network import FILES, load_network
from diffcl.models.weights import Model
from diffcl.networks.precision import computing, excels_in_bfloat16, knows_bfloat16

EngineChoice = Literal["auto", "torch", "bfloat16", "onnx"]

HARMLESS = 0.001
"""Mean Dice that bfloat16 must cost less than, for a version to be computed in it unasked."""


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
    none. On a GPU it is torch, for ONNX files are for processors. On a processor that excels in bfloat16 it is
    `bfloat16` for a version that torch computes and that loses less than `HARMLESS` by it.

    Raises:
        ModelError: If ONNX files are to be used and are missing or cannot be.
        UsageError: If there is no such engine, or `onnx` or `bfloat16` is asked for and the model is not on the CPU, or
            `bfloat16` on one without instructions for it.
    """
    choice = engine_choice(choice)
    on_cpu = model.device.type == "cpu"
    if choice in ("onnx", "bfloat16") and not on_cpu:
        raise UsageError(f"--engine {choice}", "computes on the CPU", "Use --engine torch on a GPU")
    if choice == "bfloat16" and not knows_bfloat16():
        raise UsageError(
            "--engine bfloat16", "this processor has no instructions for it", "Use --engine torch"
        )
    name = (_own(model.info) if on_cpu else "torch") if choice == "auto" else choice
    if name == "onnx":
        return _onnx(model)
    if name == "bfloat16":
        return Engine(name, _in_half(model.cs), _in_half(model.ds))
    return Engine(name, model.cs, model.ds)


def engine_choice(text: object) -> EngineChoice:
    """The engine of that name.

    Raises:
        UsageError: If there is none.
    """
    known = get_args(EngineChoice)
    if text not in known:
        raise UsageError(
            f"engine {short(text, 80)}", "there is none of that name", f"Known engines: {', '.join(known)}"
        )
    return cast(EngineChoice, text)


def _own(info: ModelInfo) -> EngineName:
    """What computes a version on a processor where nothing else is asked for."""
    loss = info.bfloat16_loss
    harmless = info.engine == "torch" and loss is not None and loss < HARMLESS
    return "bfloat16" if harmless and excels_in_bfloat16() else info.engine


def _in_half(network: nn.Module) -> Callable[..., Tensor]:
    """A network that computes in bfloat16, and answers in float32."""

    def answer(image: Tensor, *rest: Tensor) -> Tensor:
        with computing(image.device, half=True):
            logits: Tensor = network(image, *rest)
        return logits.float()

    return answer


def _onnx(model: Model) -> Engine:
    if model.folder is None:
        raise ModelError(model.info.name, "is in memory alone and has no ONNX files", "Use --engine torch")
    cs, ds = (load_network(model.folder / file, model.info, network) for network, file in FILES.items())
    return Engine("onnx", cs, ds)
