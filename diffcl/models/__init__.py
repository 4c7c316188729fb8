"""Models: their registry, description, weights and forms for other programs.

What is named here is imported when it is first asked for: to say what models there are takes no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcl.models.metadata import ModelInfo
    from diffcl.models.registry import ModelRegistry
    from diffcl.models.weights import Model, load_model

__all__ = ["Model", "ModelInfo", "ModelRegistry", "load_model"]

_HOMES = {"Model": "weights", "ModelInfo": "metadata", "ModelRegistry": "registry", "load_model": "weights"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
