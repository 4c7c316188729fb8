"""What `diffcl.inference` offers, and how a model is described."""

from __future__ import annotations

from pathlib import Path

import pytest

import diffcl.inference
from diffcl.errors import ModelError
from diffcl.models.metadata import read_info


def test_one_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").mkdir()
    with pytest.raises(ModelError, match=r"model\.json: cannot be read"):
        read_info(tmp_path)


def test_all_that_is_named_is_there_and_nothing_else() -> None:
    assert all(hasattr(diffcl.inference, name) for name in diffcl.inference.__all__)
    with pytest.raises(ImportError, match="Oracle"):
        from diffcl.inference import Oracle  # type: ignore[attr-defined]  # noqa: F401
