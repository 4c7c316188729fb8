"""Prediction: models and their store, the CS/DS ensemble, uncertainty, the Predictor."""

from diffcl.inference.model import Model, ModelInfo, load_model
from diffcl.inference.predictor import Prediction, Predictor, Report
from diffcl.inference.store import ModelStore

__all__ = ["Model", "ModelInfo", "ModelStore", "Prediction", "Predictor", "Report", "load_model"]
