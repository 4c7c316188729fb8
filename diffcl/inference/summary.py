"""What is told of a prediction and of a model in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffcl.models.metadata import ModelInfo

if TYPE_CHECKING:
    from diffcl.inference.predictor import Report


def summary(report: Report) -> str:
    """Volumes, expected error, model, what that learned from, and what speaks against the label."""
    volumes = ", ".join(f"{name} {volume:.2f} ml" for name, volume in report.volumes_ml.items())
    learned = learned_from(report.learned_from)
    line = f"{volumes}; doubt {report.doubt:.2f}; {report.model} version {report.version}, {learned}"
    return ". ".join([line, " ".join(report.warnings)]) if report.warnings else line


def learned_from(counts: Mapping[str, int]) -> str:
    """What a model learned from; one without labelled scans was uploaded.

    >>> learned_from({"labelled": 8, "unlabelled": 30, "validation": 2})
    'learned from 8 labelled and 30 unlabelled scans'
    """
    if not counts["labelled"]:
        return "uploaded, with no record of scans"
    return f"learned from {counts['labelled']} labelled and {counts['unlabelled']} unlabelled scans"


def origin(info: ModelInfo) -> str:
    """Version of a model, what it learned from, and how good it is on the validation scans."""
    scores = info.scores.get("ensemble")
    good = f"Dice {scores['dice']:.3f} on {scores['scans']} validation scans" if scores else "not validated"
    return f"version {info.version}, {learned_from(info.learned_from)}, {good}"
