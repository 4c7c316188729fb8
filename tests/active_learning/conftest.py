"""A tiny untrained model."""

from __future__ import annotations

import pytest
import torch
from synthetic import publish_untrained

from diffcl.models import Model, ModelRegistry, load_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An untrained model of the task `organ`."""
    torch.manual_seed(0)
    return load_model(publish_untrained(ModelRegistry(tmp_path_factory.mktemp("store"))))
