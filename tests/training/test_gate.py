from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from diffcl.data.cases import Cases, find_cases
from diffcl.inference import ModelStore, load_model
from diffcl.recipe import Recipe
from diffcl.training import train
from diffcl.training.gate import Decision, publish_if_not_worse


@pytest.fixture(scope="module")
def trained(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one validation scan."""
    run = tmp_path_factory.mktemp("runs") / "run"
    train(find_cases(data, labelled=3, validation=1), recipe, run)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_the_first_model_is_published(run: Path, store: ModelStore) -> None:
    decision = publish_if_not_worse(run, "organ", store)
    assert (decision.published, decision.version, decision.current) == (True, 1, None)
    model = load_model(store.folder("organ"))
    assert model.info.provenance["parent"] is None
    assert model.info.scores["ensemble"]["dice"] == decision.candidate
    assert "version 1" in (store.folder("organ") / "card.md").read_text()


def test_an_equal_candidate_is_published_as_the_next_version(run: Path, store: ModelStore) -> None:
    publish_if_not_worse(run, "organ", store)
    decision = publish_if_not_worse(run, "organ", store)
    assert (decision.published, decision.version) == (True, 2)
    assert decision.candidate == decision.current
    info = store.info("organ")
    assert (info.version, info.provenance["parent"]) == (2, 1)
    assert info.provenance["reason"] == decision.reason


@pytest.mark.parametrize(("margin", "published"), [(0.0, False), (0.5, True)])
def test_a_worse_candidate_passes_only_within_the_margin(
    margin: float, published: bool, run: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_if_not_worse(run, "organ", store)
    monkeypatch.setattr("diffcl.training.gate.validate", lambda cases, model: Better())
    decision = publish_if_not_worse(run, "organ", store, margin=margin)
    assert decision.published is published
    assert f"version 1 has {Better.dice:.3f}" in decision.reason
    assert store.info("organ").version == (2 if published else 1)
    assert (run / "candidate/organ/1/weights.safetensors").exists() is not published


class Better:
    """Scores that no untrained network reaches."""

    dice = 0.45


def test_without_validation_nothing_is_replaced(
    cases: Cases, recipe: Recipe, store: ModelStore, tmp_path: Path
) -> None:
    train(replace(cases, validation=()), recipe, tmp_path / "blind")
    first = publish_if_not_worse(tmp_path / "blind", "organ", store)
    second = publish_if_not_worse(tmp_path / "blind", "organ", store)
    assert first == Decision(True, "Published: there was no model yet.", None, None, 1)
    assert not second.published
    assert store.versions("organ") == [1]


def test_versions_go_on_where_the_shipped_ones_end(run: Path, tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    publish_if_not_worse(run, "organ", ModelStore(shipped))
    store = ModelStore(own, shipped)
    assert publish_if_not_worse(run, "organ", store).version == 2
    assert store.info("organ").version == 2
    assert ModelStore(shipped).versions("organ") == [1]
