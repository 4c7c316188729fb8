"""What judged teaches in the last part of a run, and the weights from before it are kept beside the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from same_state import same

from diffcl.data.cases import Cases
from diffcl.models import ModelRegistry, load_model
from diffcl.models.weights import load_judged
from diffcl.publishing import candidate as module
from diffcl.publishing.gate import publish_if_not_worse
from diffcl.recipe import Recipe
from diffcl.training import Parent, Plan, Progress, train
from diffcl.training.best import read_best
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.run import LAST, steps_done
from diffcl.training.scans import Scans, load_scans
from diffcl.training.time_limit import PUBLISHING_SECONDS
from diffcl.training.validation import validate

HALF = Plan(last_part=0.5)
"""Of six steps, three."""


class Killed(BaseException):
    """Stands for a SIGKILL between two steps."""


@pytest.fixture
def scans(cases: Cases, recipe: Recipe, tmp_path: Path) -> Scans:
    return load_scans(cases, recipe, tmp_path / "prepared", judges_teach=True)


def test_what_judged_teaches_in_the_last_steps_alone(
    cases: Cases, recipe: Recipe, scans: Scans, tmp_path: Path
) -> None:
    """Another label of the judge changes what comes out at the end, and nothing before."""
    told: list[Progress] = []
    train(cases, recipe, tmp_path / "a", plan=HALF, scans=scans, on_step=told.append)
    assert [(one.step, one.steps) for one in told] == [(step, 6) for step in range(1, 7)]
    assert steps_done(tmp_path / "a") == 6
    judge = scans.judges[0]
    assert judge.label is not None
    other = replace(judge, label=torch.ones_like(judge.label))
    train(cases, recipe, tmp_path / "b", plan=HALF, scans=replace(scans, judges=[other]))
    before = [load_checkpoint(tmp_path / run / "best.pt") for run in "ab"]
    same(*before)
    after = [load_checkpoint(tmp_path / run / LAST / "best.pt") for run in "ab"]
    with pytest.raises(AssertionError):
        same(*after)


def test_without_a_last_part_what_judges_never_teaches(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    assert load_scans(cases, recipe, tmp_path / "prepared").judges == []
    train(cases, recipe, tmp_path / "run")
    assert not (tmp_path / "run" / LAST).exists()


def test_a_run_killed_in_its_last_part_continues_to_the_same_result(
    cases: Cases, recipe: Recipe, scans: Scans, tmp_path: Path
) -> None:
    def kill(progress: Progress) -> None:
        if progress.step == 5:
            raise Killed

    train(cases, recipe, tmp_path / "whole", plan=HALF, scans=scans)
    with pytest.raises(Killed):
        train(cases, recipe, tmp_path / "killed", plan=HALF, scans=scans, on_step=kill)
    steps: list[int] = []
    train(cases, recipe, tmp_path / "killed", plan=HALF, scans=scans, resume=True,
          on_step=lambda progress: steps.append(progress.step))  # fmt: skip
    assert steps[-1] == 6
    assert steps[0] > 3
    same(*(load_checkpoint(tmp_path / run / LAST / "best.pt") for run in ("whole", "killed")))


def test_a_run_by_time_keeps_its_share_for_the_last_part(
    cases: Cases, recipe: Recipe, scans: Scans, tmp_path: Path
) -> None:
    now, steps, plan = [1000.0], [], Plan(minutes=3.0, last_part=0.25)

    def step_of_five_seconds(progress: Progress) -> None:
        steps.append(progress.step)
        now[0] += 5.0

    train(cases, recipe, tmp_path / "run", plan=plan, scans=scans, on_step=step_of_five_seconds,
          clock=lambda: now[0])  # fmt: skip
    assert now[0] - 1000.0 <= 180.0 - PUBLISHING_SECONDS + 5.0
    assert steps == list(range(1, len(steps) + 1))
    before = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"]
    assert 0.15 < 1 - before / len(steps) < 0.35


class TestPublished:
    @pytest.fixture
    def run(self, cases: Cases, recipe: Recipe, scans: Scans, tmp_path: Path) -> Path:
        """With what shows that another one did the last part: its scores would be others."""
        train(cases, recipe, tmp_path / "run", plan=HALF, scans=scans)
        return tmp_path / "run"

    @pytest.fixture
    def store(self, tmp_path: Path) -> ModelRegistry:
        return ModelRegistry(tmp_path / "models")

    def test_the_scores_are_those_of_the_weights_before_and_both_are_kept(
        self, run: Path, scans: Scans, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "FORGOTTEN", 1.0)
        decision = publish_if_not_worse(run, "organ", store).decision
        folder = store.folder("organ")
        before, after = load_judged(folder), load_model(folder)
        same(before.cs.state_dict(), read_best(run).model.cs.state_dict())
        same(after.cs.state_dict(), read_best(run, LAST).model.cs.state_dict())
        assert decision.candidate == pytest.approx(validate(scans.validation, before).dice, abs=1e-4)
        said = "At the end the scan that judged it taught as well; all scores are of the weights before that."
        assert said in decision.reason
        card = (folder / "card.md").read_text()
        assert said in card
        assert "To train it again without its last part" in card
        assert after.info.provenance["taught_last"] == ["scan5"]

    def test_a_last_part_that_made_it_worse_is_left_out(
        self, run: Path, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "FORGOTTEN", -1.0)
        decision = publish_if_not_worse(run, "organ", store).decision
        assert "so that is left out." in decision.reason
        folder = store.folder("organ")
        same(load_model(folder).cs.state_dict(), read_best(run).model.cs.state_dict())
        assert not (folder / "judged.safetensors").exists()
        assert store.info("organ").provenance["taught_last"] == []

    def test_the_next_run_starts_from_weights_that_its_judges_have_not_taught(
        self,
        run: Path,
        cases: Cases,
        recipe: Recipe,
        store: ModelRegistry,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With steps of almost no length it ends where it began."""
        monkeypatch.setattr(module, "FORGOTTEN", 1.0)
        publish_if_not_worse(run, "organ", store)
        still = recipe.changed(fine_tuning={"steps": 1, "supervised_start": 1, "learning_rate": 1e-12})
        plan = Plan(parent=Parent.of(store.folder("organ")))
        train(replace(cases, validation=()), still, tmp_path / "next", plan=plan)
        weights = read_best(tmp_path / "next").model.cs.state_dict()
        for name, weight in load_judged(store.folder("organ")).cs.state_dict().items():
            torch.testing.assert_close(weights[name], weight)
