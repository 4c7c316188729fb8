"""A trained ensemble on disk and in memory: safetensors with a description, never a pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from diffcl.errors import ModelError
from diffcl.inference.profile import Profile
from diffcl.io.atomic import replace_file
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
DOUBT_PICTURE = "doubt.png"


class ModelInfo(BaseModel):
    """What a model is, how it was made and how good it is; the file `model.json`.

    Attributes:
        name: Name under which it is published.
        version: Number of the published version, from 1.
        created: UTC time, ISO 8601.
        recipe: All settings of its training and inference.
        scores: Measured on the validation scans, by the Predictor.
        provenance: The scans it learned from, steps, program version, and the command that repeats it.
        profile: What the training scans looked like.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    created: str
    recipe: Recipe
    scores: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    profile: Profile

    @property
    def learned_from(self) -> dict[str, int]:
        """How many scans taught or judged it: labelled, unlabelled, validation."""
        return {kind: len(self.provenance.get(kind, [])) for kind in ("labelled", "unlabelled", "validation")}


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
    info = read_info(folder)
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
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


def read_info(folder: Path) -> ModelInfo:
    """Read the description of a model folder.

    Raises:
        ModelError: If it is missing or not a description.
    """
    path = folder / DESCRIPTION
    try:
        return ModelInfo.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(folder, f"holds no {DESCRIPTION}", "Give a folder made by diffcl publish") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(path, "cannot be read", "Check the file and its permissions") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(path, f"{field}: {first['msg']}", "Copy the whole model folder again") from error


def save_model(folder: Path, info: ModelInfo, cs: nn.Module, ds: nn.Module) -> None:
    """Write weights and description into an existing folder.

    Raises:
        OutputError: If it cannot be written.
    """
    weights = {f"cs.{name}": value.contiguous().cpu() for name, value in cs.state_dict().items()}
    weights |= {f"ds.{name}": value.contiguous().cpu() for name, value in ds.state_dict().items()}
    with replace_file(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(weights))  # save_file would let nobody else read it
    with replace_file(folder / DESCRIPTION) as temporary:
        temporary.write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
