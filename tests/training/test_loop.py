"""A run from start to end, killed and resumed, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffcl.data.cases import Cases, LabelledCase
from diffcl.errors import DataError, UsageError
from diffcl.recipe import Recipe
from diffcl.training import Plan, Progress, train
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.journal import read_journal
from diffcl.training.learner import Learner
from diffcl.training.run import read_run


class Killed(BaseException):
    """Stands for a SIGKILL between two steps."""


def test_a_run_leaves_everything_behind(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    told: list[Progress] = []
    best = train(cases, recipe, tmp_path / "run", on_step=told.append)
    assert best is not None
    assert [case.case for case in best.cases] == ["scan5"]
    assert [progress.step for progress in told] == [1, 2, 3, 4, 5, 6]
    assert [progress.step for progress in told if progress.scores] == [3, 6]
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {
        "recipe.json", "plan.json", "cases.json", "journal.jsonl", "curves.png", "checkpoint.pt", "best.pt", "prepared",
    }  # fmt: skip
    made = read_run(tmp_path / "run")
    assert (made.recipe, made.cases, made.plan) == (recipe, cases, Plan())
    terms = {"L_c", "L_c_s", "L_c_p", "L_cl", "L_d", "L_d_s", "L_d_p", "mu_1", "mu_2"}
    steps = [entry for entry in read_journal(tmp_path / "run" / "journal.jsonl") if "validation" not in entry]
    assert all(terms <= set(entry) for entry in steps)


@pytest.mark.parametrize("last", [2, 3, 5], ids=["at a checkpoint", "at a validation", "between both"])
def test_a_killed_run_continues_to_the_same_result(
    cases: Cases, recipe: Recipe, tmp_path: Path, last: int
) -> None:
    def kill(progress: Progress) -> None:
        if progress.step == last:
            raise Killed

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(cases, recipe, whole)
    with pytest.raises(Killed):
        train(cases, recipe, killed, on_step=kill)
    train(cases, recipe, killed, resume=True)
    for name in ("checkpoint.pt", "best.pt"):
        same(load_checkpoint(whole / name), load_checkpoint(killed / name))
    assert read_journal(whole / "journal.jsonl") == read_journal(killed / "journal.jsonl")


def same(one: object, other: object) -> None:
    """Two states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    else:
        assert one == other


def test_no_label_of_an_unlabelled_case_is_needed(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    """The labels of `scan3` and `scan4` cannot be read; nothing notices."""
    assert [case.name for case in cases.unlabelled] == ["scan3", "scan4"]
    train(cases, recipe.changed(training={"steps": 3}), tmp_path / "run")


def test_without_validation_the_last_weights_are_kept(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    best = train(Cases(cases.labelled, cases.unlabelled, ()), recipe, tmp_path / "run")
    assert best is None
    assert load_checkpoint(tmp_path / "run" / "best.pt")["step"] == 6


def test_one_labelled_scan_is_enough(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    train(Cases(cases.labelled[:1], cases.unlabelled, ()), recipe, tmp_path / "run")


def test_a_supervised_run_trains_cs_alone(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    train(cases, recipe.changed(training={"method": "supervised"}), tmp_path / "run")
    assert "ds" not in load_checkpoint(tmp_path / "run" / "best.pt")


def test_a_folder_in_use_is_refused(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="already holds a run"):
        train(cases, recipe, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_is_not_resumed_with_other_settings(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    train(cases, recipe.changed(training={"steps": 3}), tmp_path / "run")
    with pytest.raises(UsageError, match="differs from what was asked for now"):
        train(cases, recipe, tmp_path / "run", resume=True)


def test_all_unusable_cases_are_named_before_any_step(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    label = tmp_path / "other.nii.gz"
    label.write_bytes(b"not an image")
    first, second, third = cases.labelled
    broken = (first, LabelledCase("b", second.image, label), LabelledCase("c", third.image, first.label))
    with pytest.raises(DataError, match=r"2 of 5 cases.*other\.nii\.gz.*scan0\.nii\.gz.*lies on a grid"):
        train(Cases(broken, cases.unlabelled, ()), recipe, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_run(recipe: Recipe) -> None:
    learner = Learner(recipe, torch.device("cpu"))
    with pytest.raises(DataError, match="step 7: the loss is not finite"):
        learner.learn(torch.tensor(float("nan")), torch.zeros(()), 7)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK cut off")
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_journal_cut_off_by_a_kill_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "L_')
    assert read_journal(path) == [{"step": 1}]
