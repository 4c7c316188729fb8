"""What a version loses where its networks compute in bfloat16, which many processors do several times as fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffcl.evaluation.scores import Scores
from diffcl.models.weights import Model
from diffcl.training.validation import ValidationScan, validate


def bfloat16_scores(model: Model, scans: Sequence[ValidationScan], single: Scores) -> dict[str, Any]:
    """What stands in the provenance of a version as `bfloat16`.

    Args:
        model: The version, with its ensemble weight.
        scans: Validation scans, at least one.
        single: Scores of its ensemble on the same scans in float32.

    Returns:
        `dice`, the mean in bfloat16; `dice_loss`, how much less that is than in float32, below zero where it is more;
        `dice_loss_worst` of a single scan; and `scans`, how many they are.

    Raises:
        UsageError: If this processor has no instructions for bfloat16.
    """
    half = validate(scans, model, engine="bfloat16")
    losses = [one.dice - other.dice for one, other in zip(single.cases, half.cases, strict=True)]
    return {
        "dice": round(half.dice, 4),
        "dice_loss": round(single.dice - half.dice, 5),
        "dice_loss_worst": round(max(losses), 5),
        "scans": len(losses),
    }
