from __future__ import annotations

import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import SimpleITK as sitk
from synthetic import make_scan, publish_untrained

from diffcl.inference import Predictor
from diffcl.inference.served_models import ServedModels
from diffcl.models import ModelRegistry


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the scans that were really predicted, in order."""
    names: list[str] = []
    predict = Predictor.__call__

    def count(self: Predictor, scan: Any, **kwargs: Any) -> Any:
        names.append(scan.name)
        return predict(self, scan, **kwargs)

    monkeypatch.setattr(Predictor, "__call__", count)
    return names


@pytest.fixture
def models(store: ModelRegistry) -> ServedModels:
    return ServedModels(store)


def test_a_scan_is_predicted_once(models: ServedModels, studies: Path, asked: list[str]) -> None:
    first = models.predict("organ", studies / "oblique.nii.gz")
    assert models.predict("organ", studies / "oblique.nii.gz", seed=0) is first
    assert asked == ["oblique"]


def test_another_question_is_another_prediction(
    models: ServedModels, studies: Path, asked: list[str]
) -> None:
    models.predict("organ", studies / "oblique.nii.gz")
    models.predict("organ", studies / "oblique.nii.gz", seed=1)
    models.predict("organ", studies / "oblique.nii.gz", networks="cs")
    models.predict("organ", studies / "flipped.nii.gz")
    assert len(asked) == 4


def test_a_new_version_predicts_anew(models: ServedModels, studies: Path, asked: list[str]) -> None:
    assert models.predict("organ", studies / "oblique.nii.gz").report.version == 1
    publish_untrained(models.store)
    assert models.predict("organ", studies / "oblique.nii.gz").report.version == 2
    assert len(asked) == 2


def test_a_scan_that_changed_is_predicted_anew(models: ServedModels, studies: Path, asked: list[str]) -> None:
    path = studies / "oblique.nii.gz"
    models.predict("organ", path)
    sitk.WriteImage(make_scan("flipped"), path)
    assert models.predict("organ", path).label.GetSize() == make_scan("flipped").GetSize()
    os.utime(path, (1, 1))
    models.predict("organ", path)
    assert len(asked) == 3


def test_two_at_once_cost_one_prediction(models: ServedModels, studies: Path, asked: list[str]) -> None:
    threads = [Thread(target=models.predict, args=("organ", studies / "oblique.nii.gz")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["oblique"]


def test_the_oldest_goes_when_there_is_no_room(
    models: ServedModels, studies: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models._cache, "_room", 12_000)  # noqa: SLF001  room for two
    for name in ("oblique", "straight", "oblique", "flipped", "oblique", "straight"):
        models.predict("organ", studies / f"{name}.nii.gz")
    assert asked == ["oblique", "straight", "flipped", "straight"]


def test_the_last_one_is_kept_whatever_its_size(
    models: ServedModels, studies: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models._cache, "_room", 1)  # noqa: SLF001
    for name in ("oblique", "oblique", "straight", "straight", "oblique"):
        models.predict("organ", studies / f"{name}.nii.gz")
    assert asked == ["oblique", "straight", "oblique"]
