"""A run from start to end, killed and resumed, and what it refuses."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from same_state import same

from diffcl.data.cases import Cases, LabelledCase, find_cases
from diffcl.errors import DataError, OutputError, UsageError
from diffcl.geometry import Geometry
from diffcl.io import read_scan
from diffcl.models import ModelInfo, ModelRegistry, load_model
from diffcl.models.profile import Profile
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.publishing import publish
from diffcl.recipe import Recipe
from diffcl.training import Parent, Plan, Progress, train
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.journal import Journal, read_journal
from diffcl.training.run import read_run
from diffcl.training.state import TrainingState


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
        "prepared.json",
    }  # fmt: skip
    made = read_run(tmp_path / "run")
    assert (made.recipe, made.cases, made.plan) == (recipe, cases, Plan())
    terms = {"L_c", "L_c_s", "L_c_p", "L_cl", "L_d", "L_d_s", "L_d_p", "mu_1", "mu_2"}
    steps = [entry for entry in read_journal(tmp_path / "run" / "journal.jsonl") if "validation" not in entry]
    assert all(terms <= set(entry) for entry in steps)


def test_nothing_is_judged_while_crops_have_coarser_voxels(
    cases: Cases, recipe: Recipe, tmp_path: Path
) -> None:
    made = recipe.changed(
        grid={"crop": [16, 16, 16]},
        cs={"filters": [4, 8], "blocks": [1, 1], "hf_mamba_levels": []},
        ds={"filters": [4, 8], "blocks": [1, 1]},
        training={"coarse_start": 0.5, "validate_every": 1},
    )
    told: list[Progress] = []
    train(cases, made, tmp_path / "run", on_step=told.append)
    assert [progress.step for progress in told if progress.scores] == [4, 5, 6]


@pytest.mark.parametrize(
    ("last", "optimiser"),
    [(2, "adamw"), (3, "muon"), (5, "muon"), (5, "sgd")],
    ids=["at a checkpoint", "at a validation", "between both", "with momentum alone"],
)
def test_a_killed_run_continues_to_the_same_result(
    cases: Cases, recipe: Recipe, tmp_path: Path, last: int, optimiser: str
) -> None:
    recipe = recipe.changed(training={"optimiser": optimiser})

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


def test_no_label_of_an_unlabelled_case_is_needed(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    """The labels of `scan3` and `scan4` let nobody pass who opens them."""
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
    with pytest.raises(
        DataError, match=r"2 of 5 cases.*other\.nii\.gz.*scan0\.nii\.gz.*lies on another grid"
    ):
        train(Cases(broken, cases.unlabelled, ()), recipe, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_run(recipe: Recipe) -> None:
    learner = TrainingState(recipe, torch.device("cpu"))
    with pytest.raises(DataError, match="step 7: the loss is not finite"):
        learner.learn(torch.tensor(float("nan")), torch.zeros(()), 7)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK cut off")
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_journal_is_json_however_deep_an_infinite_number_lies(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"step": 1, "validation": {"hd95_mm": Infinity}}\n')
    with Journal(path, last_step=1) as journal:
        journal.write(2, {"L_c": math.nan, "validation": {"dice": 0.5, "hd95_mm": math.inf}})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert lines == [
        {"step": 1, "validation": {"hd95_mm": None}},
        {"step": 2, "L_c": None, "validation": {"dice": 0.5, "hd95_mm": None}},
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (Is a directory). Check the disk"),
        (b"", "is damaged"),
        (b"\x80\x02.", "is damaged"),
    ],
    ids=["folder", "empty", "other pickle"],
)
def test_a_checkpoint_is_only_called_damaged_if_it_is(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(said)):
        load_checkpoint(path)


def test_a_journal_cut_off_by_a_kill_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "L_')
    assert read_journal(path) == [{"step": 1}]


class TestFineTuning:
    @pytest.fixture
    def parent(self, recipe: Recipe, tmp_path: Path) -> Parent:
        """A published model with weights that no seed gives."""

        def fill(folder: Path, number: int) -> None:
            cs, ds = ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe)
            for network in (cs, ds):
                for parameter in network.parameters():
                    parameter.data.normal_(std=0.05)
            info = ModelInfo(
                name="organ", version=number, created="", recipe=recipe, profile=Profile(modality="MR")
            )
            save_model(folder, info, cs, ds)

        return Parent.of(ModelRegistry(tmp_path / "models").add("organ", fill))

    def test_it_starts_from_the_published_weights(
        self, cases: Cases, recipe: Recipe, parent: Parent, tmp_path: Path
    ) -> None:
        """With steps of almost no length it ends where it began, students and averages alike."""
        still = recipe.changed(fine_tuning={"steps": 2, "supervised_start": 1, "learning_rate": 1e-12})
        train(replace(cases, validation=()), still, tmp_path / "run", plan=Plan(parent=parent))
        before = load_model(parent.folder)
        best = load_checkpoint(tmp_path / "run" / "best.pt")
        learner = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["learner"]
        for key, network in (("cs", before.cs), ("ds", before.ds)):
            for name, weight in network.state_dict().items():
                torch.testing.assert_close(best[key][name], weight)
                torch.testing.assert_close(learner[key]["network"][name], weight)

    def test_its_average_remembers_the_published_weights(self, recipe: Recipe, parent: Parent) -> None:
        model = load_model(parent.folder)
        learner = TrainingState(recipe.changed(training={"average": 0.75}), torch.device("cpu"))
        learner.start_from(model.cs, model.ds)
        first = next(learner.cs.network.parameters())
        before = first.detach().clone()
        learner.cs.learn(first.sum())
        torch.testing.assert_close(
            next(learner.cs.teacher.parameters()), 0.75 * before + 0.25 * first.detach()
        )

    def test_a_killed_one_continues_to_the_same_result(
        self, cases: Cases, recipe: Recipe, parent: Parent, tmp_path: Path
    ) -> None:
        def kill(_: Progress) -> None:
            raise Killed

        plan = Plan(steps=4, parent=parent)
        train(cases, recipe, tmp_path / "whole", plan=plan)
        with pytest.raises(Killed):
            train(cases, recipe, tmp_path / "killed", plan=plan, on_step=kill)
        (tmp_path / "killed" / "checkpoint.pt").unlink()  # killed before the first one
        train(cases, recipe, tmp_path / "killed", plan=plan, resume=True)
        same(*(load_checkpoint(tmp_path / run / "best.pt") for run in ("whole", "killed")))

    def test_its_version_names_its_parent_and_keeps_the_recipe(
        self, cases: Cases, recipe: Recipe, parent: Parent, tmp_path: Path
    ) -> None:
        train(cases, recipe, tmp_path / "run", plan=Plan(steps=2, parent=parent))
        folder = publish(tmp_path / "run", "organ", ModelRegistry(tmp_path / "models"))
        info = load_model(folder).info
        assert info.provenance["parent"] == {"name": "organ", "version": 1}
        assert info.provenance["training"]["steps"] == 2
        assert info.recipe.training == recipe.training
        assert "from the weights of organ 1, 2 steps" in (folder / "card.md").read_text()


def test_files_that_vanish_or_break_meanwhile_do_no_harm(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    """A labelled scan, its label, an unlabelled scan and one of two validation scans."""
    mine = tmp_path / "data"
    shutil.copytree(data, mine, ignore=lambda folder, names: [n for n in names if Path(folder, n).is_fifo()])
    grid = Geometry.of(read_scan(mine / "images" / "scan4.nii.gz").image)
    empty = sitk.Cast(grid.place(np.zeros(grid.size)), sitk.sitkUInt8)
    sitk.WriteImage(empty, mine / "labels" / "scan4.nii.gz")
    cases = find_cases(mine, labelled=2, validation=2)

    def hurt(_: Progress) -> None:
        cases.labelled[0].image.unlink(missing_ok=True)
        cases.labelled[1].label.write_bytes(b"unreadable")
        cases.unlabelled[0].image.write_bytes(b"unreadable")
        cases.validation[0].image.unlink(missing_ok=True)

    best = train(cases, recipe, tmp_path / "run", on_step=hurt)
    assert best is not None
    assert len(best.cases) == 2
    folder = publish(tmp_path / "run", "organ", ModelRegistry(tmp_path / "models"))
    info = load_model(folder).info
    assert info.provenance["validation"] == ["scan5"]
    assert len(info.provenance["labelled"]) == 2


@pytest.mark.parametrize("file", ["checkpoint.pt", "best.pt"])
def test_a_full_disk_is_said_and_the_run_continues_when_there_is_space(
    file: str, cases: Cases, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(state: object, written: BinaryIO) -> None:
        save(state, written)
        if ("scores" in state) == (file == "best.pt"):  # type: ignore[operator]
            written.truncate(1000)
            raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OutputError, match=file):
            train(cases, recipe, tmp_path / "run")
    assert train(cases, recipe, tmp_path / "run", resume=True) is not None
    assert not list((tmp_path / "run").glob(".*"))
