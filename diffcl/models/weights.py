"""A trained ensemble on disk and in memory: safetensors with a description, never a pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from diffcl.errors import ModelError
from diffcl.files import read_bytes, replace_file
from diffcl.models.metadata import DESCRIPTION, JUDGED_WEIGHTS, WEIGHTS, ModelInfo, read_info
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter


@dataclass(frozen=True)
class Model:
    """A loaded ensemble, ready to predict.

    Attributes:
        info: Its description.
        cs: The convolution segmentation network.
        ds: The diffusion segmentation network.
        device: Where both live.
        folder: Where it was loaded from; None for one that was made in memory.
    """

    info: ModelInfo
    cs: ConvolutionSegmenter
    ds: DiffusionSegmenter
    device: torch.device
    folder: Path | None = None


def load_model(folder: Path, device: str | torch.device = "cpu") -> Model:
    """Read a model folder.

    Raises:
        ModelError: If a file is missing, damaged, or does not fit the description.
    """
    return _load(folder, WEIGHTS, device)


def load_judged(folder: Path, device: str | torch.device = "cpu") -> Model:
    """Read a model folder with the weights that its scores are of: they have learned from no scan that judged them.

    Raises:
        ModelError: If a file is missing, damaged, or does not fit the description.
    """
    return _load(folder, JUDGED_WEIGHTS if (folder / JUDGED_WEIGHTS).exists() else WEIGHTS, device)


def _load(folder: Path, file: str, device: str | torch.device) -> Model:
    info = read_info(folder)
    path = folder / file
    try:
        weights = load(read_bytes(path))  # not mapped into memory: somebody may cut the file off
    except FileNotFoundError as error:
        raise ModelError(path, "is missing", "Copy the whole model folder again") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(path, f"is damaged ({error})", "Copy the whole model folder again") from error
    device = torch.device(device)
    cs, ds = ConvolutionSegmenter(info.recipe), DiffusionSegmenter(info.recipe)
    for prefix, network in (("cs.", cs), ("ds.", ds)):
        _fill(network, {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}, path)
        network.to(device).eval().requires_grad_(False)
    return Model(info, cs, ds, device, folder)


def _fill(network: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    expected = {name: value.shape for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            wanted, got = expected.get(name), found.get(name)
            raise ModelError(path, f"does not fit its recipe: {name} is {_shape(got)} instead of {_shape(wanted)}",
                             f"Use the {DESCRIPTION} published beside it")  # fmt: skip
    network.load_state_dict(weights)


def _shape(size: torch.Size | None) -> str:
    return "absent" if size is None else "x".join(str(n) for n in size) or "a number"


def save_model(folder: Path, info: ModelInfo, cs: nn.Module, ds: nn.Module) -> None:
    """Write weights and description into an existing folder.

    Raises:
        OutputError: If it cannot be written.
    """
    save_weights(folder / WEIGHTS, cs, ds)
    with replace_file(folder / DESCRIPTION) as temporary:
        temporary.write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")


def save_weights(file: Path, cs: nn.Module, ds: nn.Module) -> None:
    """Write the weights of both networks.

    Raises:
        OutputError: If they cannot be written.
    """
    weights = {f"cs.{name}": value.contiguous().cpu() for name, value in cs.state_dict().items()}
    weights |= {f"ds.{name}": value.contiguous().cpu() for name, value in ds.state_dict().items()}
    with replace_file(file) as temporary:
        temporary.write_bytes(save(weights))  # save_file would let nobody else read it
