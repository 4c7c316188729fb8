"""From a run to a model that predicts, with a card that says how good it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcl.data.cases import Cases
from diffcl.data.preprocess import prepare
from diffcl.data.traits import traits
from diffcl.errors import UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.inference import Predictor
from diffcl.io import Scan, read_scan
from diffcl.models import ModelRegistry
from diffcl.models.metadata import DOUBT_PICTURE, read_info
from diffcl.models.profile import Profile
from diffcl.publishing import publish
from diffcl.recipe import Recipe
from diffcl.training import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def run(cases: Cases, recipe: Recipe, runs: Path) -> Path:
    if not (runs / "full").exists():
        train(cases, recipe, runs / "full")
        train(cases, recipe.changed(training={"method": "supervised"}), runs / "supervised")
    return runs / "full"


def test_a_published_model_predicts(run: Path, tmp_path: Path, cases: Cases) -> None:
    store = ModelRegistry(tmp_path)
    folder = publish(run, "organ", store)
    files = ["card.md", "cs.onnx", "doubt.png", "ds.onnx", "model.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == files
    scan = read_scan(cases.validation[0].image)
    prediction = Predictor(store.load("organ"))(scan)
    assert Geometry.of(prediction.label) == Geometry.of(scan.image)
    assert set(np.unique(voxels(prediction.label))) <= {0, 1, 2}
    assert prediction.report.version == 1


def test_scores_of_the_ensemble_its_halves_and_other_runs_stand_in_the_card(
    run: Path, tmp_path: Path
) -> None:
    folder = publish(run, "organ", ModelRegistry(tmp_path), beside=[run.parent / "supervised", run])
    info = ModelRegistry(tmp_path).info("organ")
    assert set(info.scores) == {"ensemble", "cs", "ds"}
    assert info.provenance["unlabelled"] == ["scan3", "scan4"]
    assert info.provenance["engine"] == info.engine == "torch"
    classes = info.provenance["classes"]
    assert list(classes) == ["head", "tail"]
    mean = np.mean([one["dice"] for one in classes.values()])
    assert mean == pytest.approx(info.scores["ensemble"]["dice"], abs=1e-4)
    card = (folder / "card.md").read_text()
    alone, same = info.provenance["beside"]
    for scores in (*info.scores.values(), alone["scores"]):
        assert f"{scores['dice']:.4f}" in card
    assert (alone["supervised"], alone["unlabelled"]) == (True, 0)
    assert same["scores"] == info.scores["ensemble"]
    assert "diffcl train --recipe organ" in card
    assert card.count("--method supervised") == 1
    assert "--beside RUN2 --beside RUN3" in card
    assert f"({DOUBT_PICTURE})" in card
    assert (folder / DOUBT_PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_ensemble_is_no_worse_than_its_better_half(run: Path, tmp_path: Path) -> None:
    publish(run, "organ", ModelRegistry(tmp_path))
    scores = ModelRegistry(tmp_path).info("organ").scores
    assert scores["ensemble"]["dice"] >= max(scores["cs"]["dice"], scores["ds"]["dice"]) - 1e-4


def test_each_publishing_is_a_new_version_and_the_old_ones_stay(run: Path, tmp_path: Path) -> None:
    store = ModelRegistry(tmp_path)
    publish(run, "organ", store)
    publish(run, "organ", store)
    assert store.versions("organ") == [1, 2]
    assert store.info("organ").version == 2
    store.switch("organ", 1)
    assert store.info("organ").version == 1


def test_a_run_of_cs_alone_is_not_published(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trained CS alone"):
        publish(run.parent / "supervised", "organ", ModelRegistry(tmp_path))
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        publish(tmp_path, "organ", ModelRegistry(tmp_path))


def test_a_run_with_other_validation_scans_is_not_set_beside(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    listed = json.loads((other / "cases.json").read_text())
    (other / "cases.json").write_text(json.dumps({**listed, "validation": []}))
    with pytest.raises(UsageError, match="was not validated on the model's"):
        publish(run, "organ", ModelRegistry(tmp_path / "store"), beside=[other])
    assert not (tmp_path / "store").exists()


def test_training_and_publishing_read_each_scan_once(
    cases: Cases, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path, **options: Any) -> Scan:
        read.append(path.name)
        return read_scan(path, **options)

    monkeypatch.setattr("diffcl.data.sequences.read_scan", counted)
    train(cases, recipe.changed(training={"steps": 3}), tmp_path / "run", cache=tmp_path / "shared")
    every = (*cases.labelled, *cases.unlabelled, *cases.validation)
    assert sorted(read) == sorted(case.image.name for case in every)
    folder = publish(tmp_path / "run", "organ", ModelRegistry(tmp_path / "models"))
    assert len(read) == len(every)
    assert not (tmp_path / "run" / "prepared").exists()
    seen = [traits(prepare(read_scan(case.image), recipe)) for case in (*cases.labelled, *cases.unlabelled)]
    assert read_info(folder).profile == Profile.of(seen, recipe.modality)


def test_a_run_that_kept_no_traits_gets_its_profile_from_its_scans(
    run: Path, tmp_path: Path, cases: Cases, recipe: Recipe
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "prepared.json").unlink()
    folder = publish(tmp_path / "run", "organ", ModelRegistry(tmp_path / "models"))
    seen = [traits(prepare(read_scan(case.image), recipe)) for case in (*cases.labelled, *cases.unlabelled)]
    assert read_info(folder).profile == Profile.of(seen, recipe.modality)
