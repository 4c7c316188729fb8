"""Prediction: the CS/DS ensemble, its expected error, the Predictor.

What is named here is imported when it is first asked for, so that nothing pays for torch before it computes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcl.inference.predictor import Prediction, Predictor, Report

__all__ = ["Prediction", "Predictor", "Report"]

_HOMES = {
    **dict.fromkeys(__all__, "diffcl.inference.predictor"),
    **dict.fromkeys(("Model", "ModelInfo", "load_model"), "diffcl.models"),
}
"""Where each name is defined; those of models were here until version 0.1."""


def __getattr__(name: str) -> Any:
    if name == "ModelStore":
        return import_module("diffcl.models").ModelRegistry
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
