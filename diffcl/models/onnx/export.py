"""The networks of a model as ONNX files, for every runtime that reads them."""

from __future__ import annotations

import json
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffcl.errors import ModelError
from diffcl.files import replace_file
from diffcl.models.metadata import WEIGHTS, ModelInfo
from diffcl.models.onnx.network import FILES, agree, identity, load_network
from diffcl.models.onnx.scan import OPSET, with_scan
from diffcl.models.weights import Model
from diffcl.recipe import Recipe
from diffcl.version import version

if TYPE_CHECKING:
    from onnx import ModelProto

_MEANINGS = {
    "image": "prepared scan, (batch, {channels}, x, y, z){sequences}, float32; x, y and z are multiples of {grain}",
    "noisy": "noisy label map Y_t, (batch, {classes}, x, y, z), float32: -1 and 1 for classes, plus noise",
    "time": "diffusion step t of each item, (batch), int64, 0..{last}",
    "logits": "class logits, (batch, {classes}, x, y, z), float32; softmax over axis 1 gives {names}",
}

_TRIALS = ((1, (2, 3, 2)), (2, (3, 2, 5)), (1, (5, 4, 3)))
"""Items, and grains along each axis, of the volumes on which both engines are compared."""


def write_onnx(model: Model, folder: Path, *, share_weights: bool = False) -> list[Path]:
    """Write CS and one step of DS as ONNX files, each put in place once it answers as torch does.

    Args:
        model: Its networks, on a CPU.
        folder: Where to; it exists.
        share_weights: Refer to the weights in the folder's safetensors file instead of holding a copy.

    Returns:
        The files.

    Raises:
        ModelError: If the checker of ONNX or the comparison refuses a file.
        OutputError: If it cannot be written.
    """
    import onnx

    paths = [folder / file for file in FILES.values()]
    with ExitStack() as both:
        for network, path in zip(FILES, paths, strict=True):
            temporary = both.enter_context(replace_file(path))
            _trace(model, network, temporary)
            graph = _described(with_scan(onnx.load(temporary)), model.info, network)
            if share_weights:
                _refer(graph, folder / WEIGHTS, network)
            temporary.write_bytes(graph.SerializeToString())
            try:
                onnx.checker.check_model(temporary, full_check=True)
            except onnx.checker.ValidationError as error:
                raise ModelError(path, f"is refused by the checker of ONNX ({error})") from error
            _compare(model, network, temporary, path)
    return paths


def _trace(model: Model, network: str, path: Path) -> None:
    inputs = _inputs(model.info.recipe, network, 2, (2, 3, 2))
    sizes = {0: "batch", 2: "x", 3: "y", 4: "z"}
    _silence_exporter()
    with torch.no_grad():
        torch.onnx.export(
            _network(model, network),
            tuple(inputs.values()),
            path,
            dynamo=False,  # the other exporter needs onnxscript for an operator of one's own
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_axes={name: {0: "batch"} if name == "time" else sizes for name in (*inputs, "logits")},
            do_constant_folding=False,  # so that weights keep their names
        )


def _silence_exporter() -> None:
    """Show no warning of the exporter: of values that a trace takes for constants, which the comparison would show.

    The filters are put up for the whole process and never taken away, as those of `diffcl.io.dicom.silence` are and for
    the same reason; doing it again changes nothing.
    """
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", module=r"torch\.onnx(\.|$)")
    warnings.filterwarnings("ignore", ".*ONNX export", DeprecationWarning)


def _described(graph: ModelProto, info: ModelInfo, network: str) -> ModelProto:
    """The graph with its origin, and what goes in and comes out."""
    import onnx

    graph.producer_name, graph.producer_version = "diffcl", version()
    graph.model_version = info.version
    recipe = info.recipe
    meanings = {
        one.name: _MEANINGS[one.name].format(
            grain=recipe.grains_in_words,
            classes=recipe.classes,
            channels=recipe.channels,
            sequences="".join(f", {one.name}" for one in recipe.sequences),
            last=recipe.diffusion.steps - 1,
            names=", ".join(["background", *(entry.name for entry in recipe.labels)]),
        )
        for one in (*graph.graph.input, *graph.graph.output)
    }
    about = {**identity(info, network), "opset": str(OPSET), **meanings}
    onnx.helper.set_model_props(graph, about)
    return graph


def _network(model: Model, network: str) -> nn.Module:
    return model.cs if network == "cs" else model.ds


def _inputs(
    recipe: Recipe, network: str, items: int, grains: tuple[int, ...], seed: int = 0
) -> dict[str, Tensor]:
    """Random inputs by name."""
    rng = torch.Generator().manual_seed(seed)
    size = [count * grain for count, grain in zip(grains, recipe.grains, strict=True)]
    inputs = {"image": torch.randn(items, recipe.channels, *size, generator=rng)}
    if network == "ds":
        inputs["noisy"] = torch.randn(items, recipe.classes, *size, generator=rng)
        inputs["time"] = torch.randint(recipe.diffusion.steps, (items,), generator=rng)
    return inputs


def _compare(model: Model, network: str, written: Path, path: Path) -> None:
    """Ask both engines the same."""
    loaded = load_network(written, model.info, network)
    for seed, (items, grains) in enumerate(_TRIALS, start=1):
        inputs = _inputs(model.info.recipe, network, items, grains, seed).values()
        with torch.inference_mode():
            if not agree(_network(model, network)(*inputs), loaded(*inputs)):
                raise ModelError(path, "would not answer as torch does", "Compute with --engine torch")


def _refer(graph: ModelProto, weights: Path, network: str) -> None:
    """Let a graph refer to the numbers in a safetensors file, which follow its header as they are."""
    import onnx

    with weights.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(header))
    for tensor in graph.graph.initializer:
        entry = entries.get(f"{network}.{tensor.name}")
        if entry is not None:
            start, end = entry["data_offsets"]
            onnx.external_data_helper.set_external_data(tensor, WEIGHTS, 8 + header + start, end - start)
            tensor.ClearField("raw_data")
