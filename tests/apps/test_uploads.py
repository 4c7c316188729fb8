from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import SimpleITK as sitk
from fastapi import HTTPException
from synthetic import ORGAN, SCANS, make_label

from diffcl.models import ModelInfo, ModelRegistry
from diffcl.models.profile import Profile
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.recipe import Recipe


def package(tmp_path: Path, recipe: Recipe = ORGAN, name: str = "theirs") -> io.BytesIO:
    """A model as a colleague sends it, with scores that nobody has seen."""
    folder = tmp_path / "package"
    folder.mkdir(exist_ok=True)
    info = ModelInfo(
        name=name, version=7, created="2026-01-01T00:00:00+00:00", recipe=recipe,
        scores={"ensemble": {"dice": 1.0}}, profile=Profile(modality="MR"),
    )  # fmt: skip
    save_model(folder, info, ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe))
    archive = io.BytesIO()
    with ZipFile(archive, "w") as made:
        for path in folder.iterdir():
            made.write(path, path.name)
    return archive


@pytest.fixture
def labelled(app: Any, tmp_path: Path) -> None:
    """All scans have a final label."""
    for name in SCANS:
        sitk.WriteImage(make_label(name), tmp_path / "label.nii.gz")
        app.datastore().save_label(name, str(tmp_path / "label.nii.gz"), "final", {})


def refused(app: Any, archive: io.BytesIO, model: str = "organ") -> HTTPException:
    with pytest.raises(HTTPException) as caught:
        app.accept_model(model, archive)
    assert 400 <= caught.value.status_code < 500
    assert "\n" not in caught.value.detail
    return caught.value


@pytest.mark.usefixtures("labelled")
def test_an_uploaded_model_is_a_version_under_the_gate(
    app: Any, store: ModelRegistry, tmp_path: Path
) -> None:
    answer = app.accept_model("organ", package(tmp_path))
    assert answer["version"] == 2
    assert answer["published"] is (answer["candidate"] >= answer["current"] - 0.01)
    assert store.info("organ").version == (2 if answer["published"] else 1)
    info = ModelRegistry(*store.folders).info(store.version_folder("organ", 2))
    assert (info.name, info.version) == ("organ", 2)
    assert info.scores["ensemble"]["dice"] == pytest.approx(answer["candidate"], abs=1e-4)
    assert info.provenance["said"]["scores"] == {"ensemble": {"dice": 1.0}}
    assert "Uploaded" in (store.version_folder("organ", 2) / "card.md").read_text()
    store.switch("organ", 2)
    assert app.infer({"model": "organ", "image": "oblique"})["params"]["version"] == 2


def test_without_labels_an_upload_waits_for_a_person(app: Any, store: ModelRegistry, tmp_path: Path) -> None:
    answer = app.accept_model("organ", package(tmp_path))
    assert answer["published"] is False
    assert "too few labelled scans" in answer["reason"]
    assert (store.info("organ").version, store.versions("organ")) == (1, [1, 2])


def test_a_model_of_another_task_is_refused(app: Any, store: ModelRegistry, tmp_path: Path) -> None:
    other = Recipe.model_validate(
        ORGAN.model_dump() | {"labels": [{"value": 1, "name": "liver"}, {"value": 2, "name": "spleen"}]}
    )
    caught = refused(app, package(tmp_path, other))
    assert "segments liver, spleen. This task has organ_head, organ_tail" in caught.detail
    assert store.versions("organ") == [1]


def test_a_file_that_is_no_model_is_refused(app: Any, store: ModelRegistry) -> None:
    assert "no ZIP file" in refused(app, io.BytesIO(b"\x80\x04K\x07.")).detail
    assert store.versions("organ") == [1]


def test_an_unknown_model_is_a_404(app: Any, tmp_path: Path) -> None:
    assert refused(app, package(tmp_path), "../organ").status_code == 404
