"""Clinical segmentation that learns from a few labelled scans and all the unlabelled ones.

What is named here is all that is public; docs/python.md describes it. Each name is imported when it is first asked for,
so that `import diffcl` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diffcl.moved import tell_of_moved_modules

if TYPE_CHECKING:
    from diffcl.api import complete, evaluate, find_cases, load_model, predict, predict_files, publish, train
    from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
    from diffcl.errors import DiffclError
    from diffcl.evaluation.scores import Scores
    from diffcl.geometry import Geometry
    from diffcl.inference.interactive.completion import Completion
    from diffcl.inference.outlook import Outlook
    from diffcl.inference.pipeline import Outcome
    from diffcl.inference.predictor import Report
    from diffcl.inference.results import Result
    from diffcl.io.read import read_scan
    from diffcl.io.scan import Scan
    from diffcl.models.weights import Model
    from diffcl.recipe import Recipe
    from diffcl.training.loop import Progress

    __version__: str

__all__ = [
    "Cases",
    "Completion",
    "DiffclError",
    "Geometry",
    "LabelledCase",
    "Model",
    "Outcome",
    "Outlook",
    "Progress",
    "Recipe",
    "Report",
    "Result",
    "Scan",
    "Scores",
    "UnlabelledCase",
    "__version__",
    "complete",
    "evaluate",
    "find_cases",
    "load_model",
    "predict",
    "predict_files",
    "publish",
    "read_scan",
    "train",
]

_HOMES = {
    **dict.fromkeys(
        ("complete", "evaluate", "find_cases", "load_model", "predict", "predict_files", "publish", "train"),
        "api",
    ),
    **dict.fromkeys(("Cases", "LabelledCase", "UnlabelledCase"), "data.cases"),
    "Completion": "inference.interactive.completion",
    "DiffclError": "errors",
    "Geometry": "geometry",
    "Model": "models.weights",
    "Outcome": "inference.pipeline",
    "Outlook": "inference.outlook",
    "Progress": "training.loop",
    "Recipe": "recipe",
    "Report": "inference.predictor",
    "Result": "inference.results",
    "Scan": "io.scan",
    "Scores": "evaluation.scores",
    "read_scan": "io.read",
}
"""The module in which each name is defined."""


tell_of_moved_modules()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("diffcl.version").version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
