from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from packages import opened_here, package
from synthetic import ORGAN, SCANS, make_label, make_scan

from diffcl.data.cases import LabelledCase
from diffcl.errors import ModelError
from diffcl.models import ModelRegistry
from diffcl.publishing.upload import accept_upload
from diffcl.recipe import Recipe


@pytest.fixture
def cases(tmp_path: Path) -> list[LabelledCase]:
    """All synthetic scans with their labels."""
    found = []
    for name in SCANS:
        image, label = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}-label.nii.gz"
        sitk.WriteImage(make_scan(name), image)
        sitk.WriteImage(make_label(name), label)
        found.append(LabelledCase(name, image, label))
    return found


def upload(store: ModelRegistry, archive: io.BytesIO, cases: list[LabelledCase]) -> dict[str, Any]:
    return accept_upload(archive, "organ", ORGAN, store, cases, store.folders[0].parent / "prepared", 0.01)


def test_an_uploaded_model_is_a_version_under_the_gate(
    store: ModelRegistry, cases: list[LabelledCase], tmp_path: Path
) -> None:
    answer = upload(store, package(tmp_path), cases)
    assert answer["version"] == 2
    assert answer["published"] is (answer["candidate"] >= answer["current"] - 0.01)
    assert store.info("organ").version == (2 if answer["published"] else 1)
    info = ModelRegistry(*store.folders).info(store.version_folder("organ", 2))
    assert (info.name, info.version) == ("organ", 2)
    assert info.scores["ensemble"]["dice"] == pytest.approx(answer["candidate"], abs=1e-4)
    assert info.provenance["validation"] == SCANS
    assert info.provenance["said"]["scores"] == {"ensemble": {"dice": 1.0}}
    assert "Uploaded" in (store.version_folder("organ", 2) / "card.md").read_text()


def test_without_labels_an_upload_waits_for_a_person(store: ModelRegistry, tmp_path: Path) -> None:
    answer = upload(store, package(tmp_path), [])
    assert answer["published"] is False
    assert "too few labelled scans" in answer["reason"]
    assert (store.info("organ").version, store.versions("organ")) == (1, [1, 2])


def test_a_model_of_another_task_is_refused(
    store: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.publishing.trial._seconds_of_a_window", opened_here)
    other = Recipe.model_validate(
        ORGAN.model_dump() | {"labels": [{"value": 1, "name": "liver"}, {"value": 2, "name": "spleen"}]}
    )
    with pytest.raises(ModelError, match=r"segments liver, spleen\. This task has organ_head, organ_tail"):
        upload(store, package(tmp_path, other), [])
    assert store.versions("organ") == [1]


def test_a_file_that_is_no_model_is_refused(store: ModelRegistry) -> None:
    with pytest.raises(ModelError, match="no ZIP file"):
        upload(store, io.BytesIO(b"\x80\x04K\x07."), [])
    assert store.versions("organ") == [1]


def test_a_model_that_does_not_get_through_its_trial_is_refused(
    store: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.publishing.trial._seconds_of_a_window", opened_here)
    monkeypatch.setattr("diffcl.publishing.trial.SCAN_BYTES", 1000)
    with pytest.raises(ModelError, match="GiB of memory for a scan of"):
        upload(store, package(tmp_path), [])
    assert store.versions("organ") == [1]


def test_a_model_of_other_sequences_is_refused(
    store: ModelRegistry, cases: list[LabelledCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.publishing.trial._seconds_of_a_window", opened_here)
    two = Recipe.model_validate(
        {**ORGAN.model_dump(exclude_unset=True), "sequences": [{"name": "FLAIR"}, {"name": "T1"}]}
    )
    with pytest.raises(ModelError, match=r"organ: takes FLAIR, T1\. This task takes one sequence"):
        upload(store, package(tmp_path, two), cases)
