"""What `diffcl.inference` offers, and how a model is described."""

from __future__ import annotations

from pathlib import Path

import pytest

import diffcl.inference
from diffcl.errors import ModelError
from diffcl.models.metadata import DEEPEST, ModelInfo, read_info


def test_one_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").mkdir()
    with pytest.raises(ModelError, match=r"model\.json: cannot be read"):
        read_info(tmp_path)


def test_all_that_is_named_is_there_and_nothing_else() -> None:
    assert all(hasattr(diffcl.inference, name) for name in diffcl.inference.__all__)
    with pytest.raises(ImportError, match="Oracle"):
        from diffcl.inference import Oracle  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize("levels", [DEEPEST - 1, DEEPEST + 1, 10_000])
def test_a_description_that_others_could_not_read_back_is_refused(tmp_path: Path, levels: int) -> None:
    nested = "[" * levels + "]" * levels
    (tmp_path / "model.json").write_text(
        '{"name": "organ", "version": 1, "created": "", "profile": {"modality": "MR"}, '
        '"recipe": {"name": "organ", "labels": [{"value": 1, "name": "organ"}]}, '
        f'"provenance": {{"said": {nested}}}}}'
    )
    if levels < DEEPEST:
        info = read_info(tmp_path)
        assert ModelInfo.model_validate_json(info.model_dump_json()) == info
    else:
        with pytest.raises(ModelError, match=r"model\.json: ") as caught:
            read_info(tmp_path)
        assert "\n" not in str(caught.value)
