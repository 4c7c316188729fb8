from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep

import pytest

from diffcl.data.cases import Cases
from diffcl.recipe import Recipe
from diffcl.training import Plan, Progress, train
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.run import read_run
from diffcl.training.scans import Scans, load_scans
from diffcl.training.time_limit import fitting_steps


@pytest.fixture
def scans(cases: Cases, recipe: Recipe, tmp_path: Path) -> Scans:
    return load_scans(cases, recipe, tmp_path / "prepared")


def test_more_time_gives_more_steps(scans: Scans, recipe: Recipe) -> None:
    few, _ = fitting_steps(20, recipe, scans, "cpu")
    many, left = fitting_steps(200, recipe, scans, "cpu")
    assert 1 <= few < many
    assert 0 < left < 200


def test_without_time_there_is_one_step(scans: Scans, recipe: Recipe) -> None:
    assert fitting_steps(0, recipe, scans, "cpu") == (1, 0.0)


def test_a_run_with_a_time_ends_in_it_validated_and_with_its_schedule_done(
    cases: Cases, recipe: Recipe, tmp_path: Path
) -> None:
    told: list[Progress] = []
    start = perf_counter()
    best = train(cases, recipe, tmp_path / "run", plan=Plan(minutes=0.05), on_step=told.append)
    assert perf_counter() - start < 15
    assert best is not None
    steps = read_run(tmp_path / "run").plan.steps
    assert told[-1].steps == steps
    assert told[-1].scores is not None


def test_a_run_that_is_slower_than_its_trial_ends_in_time_and_is_not_continued(
    cases: Cases, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.training.loop.fitting_steps", lambda *_: (1000, 0.5))
    told: list[Progress] = []

    def slow(progress: Progress) -> None:
        told.append(progress)
        sleep(0.3)

    plan = Plan(minutes=1)
    cases = replace(cases, validation=())
    train(cases, recipe, tmp_path / "run", plan=plan, on_step=slow)
    assert len(told) < 10
    assert load_checkpoint(tmp_path / "run" / "best.pt")["step"] == told[-1].step
    train(cases, recipe, tmp_path / "run", plan=plan, resume=True, on_step=slow)
    assert len(told) < 10, "it was over"
