"""Prediction: models and their store, the CS/DS ensemble, uncertainty, the Predictor.

What is named here is imported when it is first asked for: to say what models there are takes no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcl.inference.info import ModelInfo
    from diffcl.inference.model import Model, load_model
    from diffcl.inference.predictor import Prediction, Predictor, Report
    from diffcl.inference.store import ModelStore

__all__ = ["Model", "ModelInfo", "ModelStore", "Prediction", "Predictor", "Report", "load_model"]

_HOMES = {
    "Model": "model",
    "ModelInfo": "info",
    "ModelStore": "store",
    "Prediction": "predictor",
    "Predictor": "predictor",
    "Report": "predictor",
    "load_model": "model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
