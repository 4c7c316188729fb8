"""A tiny untrained model, and a store and a folder of scans as a server finds them."""

from __future__ import annotations

import pytest
import torch
from served import store, studies
from synthetic import publish_untrained

from diffcl.models import Model, ModelRegistry, load_model

__all__ = ["model", "store", "studies"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An untrained model of the task `organ`."""
    torch.manual_seed(0)
    return load_model(publish_untrained(ModelRegistry(tmp_path_factory.mktemp("store"))))
