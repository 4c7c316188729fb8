from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from fastapi import HTTPException
from packages import package
from synthetic import SCANS, make_label

from diffcl.models import ModelRegistry


def refused(app: Any, archive: io.BytesIO, model: str = "organ") -> HTTPException:
    with pytest.raises(HTTPException) as caught:
        app.accept_model(model, archive)
    assert 400 <= caught.value.status_code < 500
    assert "\n" not in caught.value.detail
    return caught.value


def test_an_uploaded_model_answers_once_it_is_in_use(
    app: Any, store: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.studies.training_cases.ENOUGH_TO_VALIDATE", len(SCANS))
    for name in SCANS:
        sitk.WriteImage(make_label(name), tmp_path / "label.nii.gz")
        app.datastore().save_label(name, str(tmp_path / "label.nii.gz"), "final", {})
    answer = app.accept_model("organ", package(tmp_path))
    assert answer["version"] == 2
    assert answer["candidate"] is not None
    store.switch("organ", 2)
    assert app.infer({"model": "organ", "image": "oblique"})["params"]["version"] == 2


def test_a_file_that_is_no_model_is_a_sentence(app: Any) -> None:
    assert "no ZIP file" in refused(app, io.BytesIO(b"\x80\x04K\x07.")).detail


def test_an_unknown_model_is_a_404(app: Any, tmp_path: Path) -> None:
    assert refused(app, package(tmp_path), "../organ").status_code == 404
