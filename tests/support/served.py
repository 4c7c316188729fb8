"""A store of models and a folder of scans, as a server finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk
from synthetic import make_label, make_studies, publish_untrained

from diffcl.models import ModelRegistry


@pytest.fixture
def store(tmp_path: Path) -> ModelRegistry:
    """A store with the first version of `organ`."""
    store = ModelRegistry(tmp_path / "store")
    publish_untrained(store)
    return store


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder, with a space in its name, of four scans without labels."""
    return make_studies(tmp_path / "my studies")


@pytest.fixture
def label_file(tmp_path: Path) -> Path:
    """A label for the scan `oblique`."""
    path = tmp_path / "label.nii.gz"
    sitk.WriteImage(make_label("oblique"), path)
    return path
