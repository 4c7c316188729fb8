"""What a model is, how it was made and how good it is: the file `model.json` of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from diffcl.errors import ModelError
from diffcl.models.profile import Profile
from diffcl.recipe import Recipe

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
DOUBT_PICTURE = "doubt.png"

EngineName = Literal["torch", "onnx"]
"""What can compute the networks of a model."""


class ModelInfo(BaseModel):
    """What a model is, how it was made and how good it is; the file `model.json`.

    Attributes:
        name: Name under which it is published.
        version: Number of the published version, from 1.
        created: UTC time, ISO 8601.
        recipe: All settings of its training and inference.
        scores: Measured on the validation scans, by the Predictor.
        provenance: The scans it learned from, steps, program version, the command that repeats it, and what
            computed its scores.
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

    @property
    def engine(self) -> EngineName:
        """What its scores were measured with, and so what computes it where nothing else is asked for.

        Torch for a version without a record, as those before 0.2.
        """
        return "onnx" if self.provenance.get("engine") == "onnx" else "torch"


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
