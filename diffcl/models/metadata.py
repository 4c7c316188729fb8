"""What a model is, how it was made and how good it is: the file `model.json` of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from diffcl.errors import ModelError
from diffcl.files import read_bytes
from diffcl.models.profile import Profile
from diffcl.recipe import Recipe, first_fault

WEIGHTS = "weights.safetensors"
JUDGED_WEIGHTS = "judged.safetensors"
DESCRIPTION = "model.json"
DOUBT_PICTURE = "doubt.png"

EngineName = Literal["torch", "bfloat16", "onnx"]
"""What can compute the networks of a model: torch in float32, torch in bfloat16, or ONNX Runtime."""
DEEPEST = 100
"""Lists and objects inside each other; readers of JSON refuse twice as many."""


class ModelInfo(BaseModel):
    """What a model is, how it was made and how good it is; the file `model.json`.

    Attributes:
        name: Name under which it is published.
        version: Number of the published version, from 1.
        created: UTC time, ISO 8601.
        recipe: All settings of its training and inference.
        scores: Measured on the validation scans, by the Predictor, with weights that had not learned from them: those
            of `judged.safetensors` where there are such.
        provenance: The scans it learned from, steps, program version, the command that repeats it, what computed its
            scores, those of each class, and what it loses in bfloat16.
        profile: What the training scans looked like.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(max_length=64)]
    version: Annotated[int, Field(ge=0, lt=2**31)]
    created: Annotated[str, Field(max_length=64)]
    recipe: Recipe
    scores: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    profile: Profile

    @field_validator("scores", "provenance")
    @classmethod
    def _flat(cls, content: dict[str, Any]) -> dict[str, Any]:
        if depth(content) > DEEPEST:
            raise ValueError(f"holds lists and objects inside each other more than {DEEPEST} deep")
        return content

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

    @property
    def bfloat16_loss(self) -> float | None:
        """Mean Dice on the validation scans that bfloat16 costs, below zero where it gains; None if never measured."""
        measured = self.provenance.get("bfloat16")
        loss = measured.get("dice_loss") if isinstance(measured, dict) else None
        return float(loss) if isinstance(loss, int | float) and not isinstance(loss, bool) else None


def depth(value: object) -> int:
    """How deep lists and objects lie inside each other.

    >>> depth({"a": [1, {}]}), depth(1)
    (3, 0)
    """
    layer, deep = [value], 0
    while layer := [one for one in layer if isinstance(one, dict | list)]:
        layer = [entry for one in layer for entry in (one.values() if isinstance(one, dict) else one)]
        deep += 1
    return deep


def read_info(folder: Path) -> ModelInfo:
    """Read the description of a model folder.

    Raises:
        ModelError: If it is missing or not a description.
    """
    path = folder / DESCRIPTION
    try:
        return ModelInfo.model_validate_json(read_bytes(path).decode("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(folder, f"holds no {DESCRIPTION}", "Give a folder made by diffcl publish") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(path, "cannot be read", "Check the file and its permissions") from error
    except ValidationError as error:
        fault = first_fault(error, DESCRIPTION)
        raise ModelError(path, fault, "Copy the whole model folder again") from error
