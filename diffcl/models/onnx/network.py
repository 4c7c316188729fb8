"""A network from an ONNX file, computed by ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcl.errors import ModelError
from diffcl.models.metadata import ModelInfo

FILES = {"cs": "cs.onnx", "ds": "ds.onnx"}
"""Files of CS and of one step of DS, beside the weights."""

NEXT_STEP = "Write it again with diffcl export --onnx"

TOLERANCE = 1e-3
"""Largest difference between the probabilities of two engines that agree."""

AGREEMENT = 0.9999
"""Share of the voxels of which two engines must say the same."""


def identity(info: ModelInfo, network: str) -> dict[str, str]:
    """What an ONNX file says of where it belongs.

    The recipe counts as it stands in `model.json`, whatever fields recipes get later.
    """
    recipe = hashlib.sha256(info.recipe.model_dump_json(exclude_unset=True).encode()).hexdigest()
    return {"network": network, "model": info.name, "version": str(info.version), "recipe_sha256": recipe}


def load_network(path: Path, info: ModelInfo, network: str) -> Callable[..., Tensor]:
    """A network that computes on the processor, with as many threads as torch uses now; several may ask at once.

    Args:
        path: The file.
        info: The model to which it must belong.
        network: `cs` or `ds`, a key of `FILES`.

    Returns:
        Takes what the network in torch takes, and gives the same.

    Raises:
        ModelError: If the file is missing, damaged, or of another model.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    if not path.is_file():
        raise ModelError(path, "is missing", "Write it with diffcl export --onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf,
            errors.NoSuchFile, errors.NotImplemented, errors.RuntimeException) as error:  # fmt: skip
        raise ModelError(path, "is damaged, or no ONNX file", NEXT_STEP) from error
    if not identity(info, network).items() <= session.get_modelmeta().custom_metadata_map.items():
        raise ModelError(path, f"is not the {network} of {info.name} {info.version}", NEXT_STEP)
    once = onnxruntime.RunOptions()
    once.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")  # give back what a run took
    names = [taken.name for taken in session.get_inputs()]

    def answer(*inputs: Tensor) -> Tensor:
        arrays: dict[str, Any] = {name: value.numpy() for name, value in zip(names, inputs, strict=False)}
        return torch.from_numpy(session.run(None, arrays, once)[0])

    return answer


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two engines say the same of the classes, `(B, K, X, Y, Z)` logits."""
    near = bool(((one.softmax(dim=1) - other.softmax(dim=1)).abs() <= TOLERANCE).all())
    same = (one.argmax(dim=1) == other.argmax(dim=1)).double().mean()
    return near and float(same) >= AGREEMENT
