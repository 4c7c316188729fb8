"""The app with a tiny untrained model and synthetic scans."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from served import label_file, store, studies

from diffcl.models import ModelRegistry
from diffcl.resources import app_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # monailabel and what it imports use deprecated modules
    import monailabel.endpoints.infer
    import monailabel.interfaces.app  # noqa: F401
    from monailabel.config import settings
    from monailabel.utils.others.class_utils import get_class_of_subclass_from_file


__all__ = ["app", "label_file", "store", "studies"]


@pytest.fixture
def app(studies: Path, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The app as MONAI Label finds and builds it."""
    monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    found = get_class_of_subclass_from_file("main", str(app_folder() / "main.py"), "MONAILabelApp")
    conf = {"store": str(store.folders[0]), "models": "organ"}
    return found(app_dir=str(app_folder()), studies=str(studies), conf=conf)
