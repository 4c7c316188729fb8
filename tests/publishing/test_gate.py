from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffcl.data.cases import Cases, find_cases
from diffcl.errors import OutputError
from diffcl.evaluation.scores import Scores
from diffcl.models import ModelRegistry, load_model
from diffcl.models.weights import Model, save_model
from diffcl.publishing.candidate import make_candidate
from diffcl.publishing.ensemble_weight import ensemble_scores
from diffcl.publishing.gate import Decision, pass_gate, publish_if_not_worse
from diffcl.recipe import Recipe
from diffcl.training import train
from diffcl.training.run import read_run
from diffcl.training.validation import ValidationScan, read_validation, validate


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
def store(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


def again(run: Path) -> Path:
    """The same run under another id, as if it had been trained once more."""
    plan = run / "plan.json"
    plan.write_text(plan.read_text().replace('"id": "', '"id": "x'))
    return run


def blind(run: Path) -> Path:
    """The same run without validation scans."""
    cases = run / "cases.json"
    text = cases.read_text()
    cases.write_text(text[: text.index('"validation"')] + '"validation": []}')
    return again(run)


def test_the_first_model_is_published(run: Path, store: ModelRegistry) -> None:
    version = publish_if_not_worse(run, "organ", store)
    assert version.number == 1
    assert version.decision.published
    assert version.decision.current is None
    model = load_model(store.folder("organ"))
    assert model.info.provenance["decision"] == asdict(version.decision)
    assert "version 1" in (store.folder("organ") / "card.md").read_text()


def test_both_are_judged_by_the_predictor_that_users_get(run: Path, store: ModelRegistry) -> None:
    version = publish_if_not_worse(run, "organ", store)
    made = read_run(run)
    validation_scans = [read_validation(case, made.recipe) for case in made.cases.validation]
    dice = validate(validation_scans, load_model(store.folder("organ"))).dice
    assert version.decision.candidate == pytest.approx(dice, abs=1e-4)


def test_the_gate_predicts_nothing_but_what_the_version_in_use_says(
    run: Path, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(model: Model, scans: Sequence[ValidationScan]) -> Scores:
        asked.append(model.info.version)
        return ensemble_scores(model, scans)

    monkeypatch.setattr("diffcl.publishing.gate.ensemble_scores", counted)
    publish_if_not_worse(run, "organ", store)
    assert asked == []
    second = publish_if_not_worse(again(run), "organ", store).decision
    assert asked == [1]
    assert second.candidate == second.current


def test_an_equal_candidate_is_published_as_the_next_version(run: Path, store: ModelRegistry) -> None:
    publish_if_not_worse(run, "organ", store)
    version = publish_if_not_worse(again(run), "organ", store)
    decision = version.decision
    assert version.number == store.info("organ").version == 2
    assert (decision.published, decision.compared_with) == (True, 1)
    assert decision.candidate == decision.current


@pytest.mark.parametrize(("margin", "published"), [(0.0, False), (0.5, True)])
def test_a_worse_candidate_passes_only_within_the_margin(
    margin: float, published: bool, run: Path, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_if_not_worse(run, "organ", store)
    monkeypatch.setattr("diffcl.publishing.gate.ensemble_scores", lambda model, scans: Better())
    decision = publish_if_not_worse(again(run), "organ", store, margin=margin).decision
    assert decision.published is published
    assert f"version 1 has {Better.dice:.3f}. Only one scan was compared" in decision.reason
    assert store.info("organ").version == (2 if published else 1)
    kept = load_model(store.version_folder("organ", 2)).info
    assert kept.provenance["decision"]["reason"] == decision.reason


class Better:
    """Scores that no untrained network reaches."""

    dice = 0.45
    cases = (SimpleNamespace(dice=0.45),)


def test_without_judges_it_counts_how_many_labelled_scans_taught(
    run: Path, cases: Cases, recipe: Recipe, store: ModelRegistry, tmp_path: Path
) -> None:
    first = publish_if_not_worse(blind(run), "organ", store)
    assert first.decision == Decision(True, "Published: there was no model yet.")
    same = publish_if_not_worse(again(run), "organ", store).decision
    assert same == Decision(
        True,
        "Published: too few labelled scans to compare; it learned from 3 labelled, version 1 from 3.",
        compared_with=1,
    )
    train(replace(cases, labelled=cases.labelled[:1], validation=()), recipe, tmp_path / "fewer")
    fewer = publish_if_not_worse(tmp_path / "fewer", "organ", store)
    assert fewer.decision.reason.startswith(
        "Not published: too few labelled scans to compare; it learned from 1"
    )
    assert store.info("organ").version == 2
    assert store.versions("organ") == [1, 2, 3]


def test_where_few_judge_it_says_what_else_is_known_of_the_version_in_use(
    run: Path, store: ModelRegistry
) -> None:
    """What its proposals were worth, but of a scan that taught it, and that what judges has taught it."""
    publish_if_not_worse(run, "organ", store)
    info = store.version_folder("organ", 1) / "model.json"
    info.write_text(info.read_text().replace('"scan0"', '"scan5"'))
    tested = {1: {"new": 0.6, "other": 0.8, "scan5": 1.0}}
    reason = publish_if_not_worse(again(run), "organ", store, tested=tested).decision.reason
    assert "1 of them taught version 1, which speaks for it." in reason
    assert (
        "Proposals of version 1 agree with the labels submitted for them to a Dice of 0.700 (2 scans"
        in reason
    )


def test_nobody_knows_what_an_upload_learned_from(run: Path, store: ModelRegistry) -> None:
    publish_if_not_worse(blind(run), "organ", store)
    candidate = make_candidate(run)
    candidate.model.info.provenance["uploaded"] = "2026-01-01T00:00:00+00:00"
    decision = pass_gate(candidate, "organ", store).decision
    assert not decision.published
    assert decision.reason.endswith("it learned from unknown scans.")


def test_a_model_of_other_classes_is_no_rival(run: Path, store: ModelRegistry) -> None:
    candidate = make_candidate(run)
    model = candidate.model
    recipe = Recipe.model_validate(
        model.info.recipe.model_dump()
        | {"labels": [{"value": 1, "name": "head"}, {"value": 2, "name": "other"}]}
    )
    store.add(
        "organ",
        lambda folder, number: save_model(
            folder, model.info.model_copy(update={"version": number, "recipe": recipe}), model.cs, model.ds
        ),
    )
    decision = pass_gate(candidate, "organ", store).decision
    assert decision == Decision(True, "Published: version 1 has other classes.", compared_with=1)


def test_versions_go_on_where_the_shipped_ones_end(run: Path, tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    publish_if_not_worse(run, "organ", ModelRegistry(shipped))
    store = ModelRegistry(own, shipped)
    assert publish_if_not_worse(again(run), "organ", store).number == 2
    assert store.info("organ").version == 2
    assert ModelRegistry(shipped).versions("organ") == [1]


def test_a_run_that_is_published_twice_is_one_version(
    run: Path, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the new version and its coming into use."""
    publish_if_not_worse(run, "organ", store)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "switch", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_if_not_worse(again(run), "organ", store)
    assert (store.versions("organ"), store.info("organ").version) == ([1, 2], 1)
    version = publish_if_not_worse(run, "organ", store)
    assert (store.versions("organ"), store.info("organ").version) == ([1, 2], 2)
    assert version.number == 2
    assert version.decision.compared_with == 1


def test_a_damaged_newest_version_does_not_stop_the_next(run: Path, store: ModelRegistry) -> None:
    publish_if_not_worse(run, "organ", store)
    damaged = store.add(
        "organ", lambda folder, _: (folder / "model.json").write_text("{") and None, use=False
    )
    assert damaged.name == "2"
    assert publish_if_not_worse(again(run), "organ", store).number == 3


def test_a_full_disk_publishes_nothing(
    run: Path, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    publish_if_not_worse(run, "organ", store)
    monkeypatch.setattr("diffcl.models.weights.save", full)
    with pytest.raises(OutputError, match="No space left on device"):
        publish_if_not_worse(again(run), "organ", store)
    assert store.versions("organ") == [1]
