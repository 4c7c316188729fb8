"""What computes the networks of a model: torch, or ONNX Runtime, whichever is faster on this machine."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, cast, get_args

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from diffcl.errors import ModelError, OutputError, UsageError
from diffcl.files import write_text
from diffcl.models.onnx.network import FILES, agree, load_network
from diffcl.models.weights import Model
from diffcl.recipe import Recipe

EngineName = Literal["torch", "onnx"]
EngineChoice = Literal["auto", "torch", "onnx"]

_ROUNDS = 3
"""How often each engine is measured; the fastest counts, so the first may load and compile."""


@dataclass(frozen=True)
class Engine:
    """The networks of a model as functions.

    Attributes:
        name: What computes them.
        cs: Image `(B, 1, X, Y, Z)` to class logits `(B, K, X, Y, Z)`.
        ds: Image, noisy label map `(B, K, X, Y, Z)` and time `(B,)` to class logits.
        warnings: One sentence each, for the report of every prediction.
    """

    name: EngineName
    cs: Callable[[Tensor], Tensor]
    ds: Callable[[Tensor, Tensor, Tensor], Tensor]
    warnings: tuple[str, ...] = ()


class Measured(BaseModel):
    """How fast both engines are, and for what that holds; a file of the cache.

    Attributes:
        work: What they were asked to compute, which every version of a task has in common.
        torch: Version of torch.
        onnxruntime: Version of ONNX Runtime.
        processor: Its name.
        threads: That torch was set to use.
        seconds: Of each engine, for one volume.
        agree: Whether both gave the same answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    work: dict[str, Any]
    torch: str
    onnxruntime: str
    processor: str
    threads: int
    seconds: dict[EngineName, float] = {}
    agree: bool = True


def choose_engine(model: Model, choice: EngineChoice = "auto") -> Engine:
    """The engine of that name, or the faster one.

    `auto` takes torch where the model has no ONNX files, or some that cannot be used, which is a warning then.
    Otherwise both compute a window of noise, once for networks of a shape on a machine; the result is kept in
    `$XDG_CACHE_HOME/diffcl` or `~/.cache/diffcl`. That both say the same with other weights was seen when those
    were published.

    Raises:
        ModelError: If `onnx` is asked for and the files are missing or cannot be used.
        UsageError: If `onnx` is asked for and the model is not on the CPU.
    """
    if choice == "onnx":
        if model.device.type != "cpu":
            raise UsageError("--engine onnx", "computes on the CPU", "Use --engine torch on a GPU")
        return _onnx(model)
    plain = Engine("torch", model.cs, model.ds)
    there = model.folder is not None and any((model.folder / file).exists() for file in FILES.values())
    if choice == "torch" or model.device.type != "cpu" or not there:
        return plain
    sought = _measurement_for(model.info.recipe)
    file = _cache() / f"{hashlib.sha256(sought.model_dump_json().encode()).hexdigest()[:32]}.json"
    found = _kept(file, sought)
    try:
        if found is None:
            found = _measure(sought, model, plain, _onnx(model))
            with suppress(OutputError):  # then it is measured again next time
                _keep(file, found)
        if not found.agree:
            what = "The ONNX files answer otherwise than torch on this machine and are not used."
            return Engine("torch", model.cs, model.ds, (what,))
        return _onnx(model) if found.seconds["onnx"] < found.seconds["torch"] else plain
    except ModelError as error:
        return Engine("torch", model.cs, model.ds, (f"Computed with torch: {error}.",))


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
        raise ValueError("a model in memory has no ONNX files")
    cs, ds = (load_network(model.folder / file, model.info, network) for network, file in FILES.items())
    return Engine("onnx", cs, ds)


def _measurement_for(recipe: Recipe) -> Measured:
    """What a measurement would hold for, here and now."""
    return Measured(
        work={
            "cs": recipe.cs.model_dump(mode="json"),
            "ds": recipe.ds.model_dump(mode="json"),
            "classes": recipe.classes,
            "window": list(recipe.grid.window),
            "sampling_steps": recipe.diffusion.sampling_steps,
        },
        torch=torch.__version__,
        onnxruntime=version("onnxruntime"),
        processor=processor(),
        threads=torch.get_num_threads(),
    )


def _measure(sought: Measured, model: Model, *engines: Engine) -> Measured:
    recipe, rng = model.info.recipe, torch.Generator().manual_seed(0)
    image = torch.randn(1, 1, *recipe.grid.window, generator=rng)
    noisy = torch.randn(1, recipe.classes, *recipe.grid.window, generator=rng)
    time = torch.tensor([recipe.diffusion.steps - 1])
    seconds: dict[EngineName, float] = {}
    for _ in range(_ROUNDS):
        answers = []
        for engine in engines:
            start = perf_counter()
            with torch.inference_mode():
                cs = engine.cs(image)
                between = perf_counter()
                ds = engine.ds(image, noisy, time)
            end = perf_counter()
            taken = between - start + recipe.diffusion.sampling_steps * (end - between)
            seconds[engine.name] = min(taken, seconds.get(engine.name, taken))
            answers.append((cs, ds))
    agreed = all(agree(one, other) for one, other in zip(*answers, strict=True))
    return sought.model_copy(update={"seconds": seconds, "agree": agreed})


def _kept(file: Path, sought: Measured) -> Measured | None:
    """A measurement of the cache; None where there is none of these, or a damaged one."""
    try:
        found = Measured.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    same = found.model_copy(update={"seconds": {}, "agree": True}) == sought
    return found if same and len(found.seconds) == 2 else None


def _keep(file: Path, found: Measured) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(file.parent, "cannot be made") from error
    write_text(file, found.model_dump_json(indent=2) + "\n")


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "diffcl" / "engines"


def processor() -> str:
    """Name of the processor, as Linux has it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
