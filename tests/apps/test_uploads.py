from __future__ import annotations

import io
import json
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


def test_an_uploaded_model_answers_once_it_is_in_use(app: Any, store: ModelRegistry, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"grid": {"window": [1e6, 1e6, 1e6]}}, "grid.window.0: Input should be less than or equal to 512"),
        (
            {"grid": {"spacing": [0.1, 0.1, 0.1]}},
            "grid.spacing.0: Input should be greater than or equal to 0.2",
        ),
        (
            {"diffusion": {"sampling_steps": 1000}},
            "diffusion.sampling_steps: Input should be less than or equal",
        ),
    ],
    ids=["window", "spacing", "steps"],
)
def test_a_model_that_would_never_answer_is_refused_and_the_server_still_starts(
    app: Any, store: ModelRegistry, tmp_path: Path, change: dict[str, dict[str, Any]], told: str
) -> None:
    package(tmp_path)
    description = tmp_path / "package" / "model.json"
    content = json.loads(description.read_text())
    for section, fields in change.items():
        content["recipe"][section] |= fields
    description.write_text(json.dumps(content))
    archive = io.BytesIO()
    with ZipFile(archive, "w") as made:
        for path in (tmp_path / "package").iterdir():
            made.write(path, path.name)
    assert told in refused(app, archive).detail
    assert store.versions("organ") == [1]


def test_a_model_that_fails_its_trial_is_refused(
    app: Any, store: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.publishing.trial.SCAN_BYTES", 1000)
    assert "GiB of memory for a scan of" in refused(app, package(tmp_path)).detail
    assert store.versions("organ") == [1]


def test_an_unknown_model_is_a_404(app: Any, tmp_path: Path) -> None:
    assert refused(app, package(tmp_path), "../organ").status_code == 404
