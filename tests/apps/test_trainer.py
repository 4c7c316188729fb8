from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import SimpleITK as sitk
import torch
from fastapi import HTTPException
from synthetic import ORGAN, SCANS, make_label

from diffcl import processes
from diffcl.models import ModelRegistry
from diffcl.studies.folder import FolderStudies
from diffcl.studies.training import StudyTraining
from diffcl.web import children
from diffcl.web.options import check_options
from lib.datastores.datastore import StudiesDatastore
from lib.trainers import trainer
from lib.trainers.trainer import SemiSupervisedTraining, TrainOptions

QUICK = {"steps": 4, "validation_share": 0.3}


@pytest.fixture
def labelled(studies: Path, tmp_path: Path) -> StudiesDatastore:
    """The studies, all but one scan labelled."""
    store = StudiesDatastore(FolderStudies(studies, lambda: [ORGAN]))
    for name in SCANS[:-1]:
        sitk.WriteImage(make_label(name), tmp_path / "label.nii.gz")
        store.save_label(name, str(tmp_path / "label.nii.gz"), "final", {})
    return store


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], SemiSupervisedTraining]:
    """Makes the training task, as every process does for itself."""
    store = ModelRegistry(tmp_path / "trained")
    return lambda: SemiSupervisedTraining(
        "organ", StudyTraining("organ", lambda: ORGAN, store, tmp_path / "training")
    )


def test_the_options_are_what_viewers_can_show(make: Callable[[], SemiSupervisedTraining]) -> None:
    config = make().config()
    assert config == {
        "start_from": ["published model", "scratch"],
        "networks": ["both", "cs", "ds"],
        "steps": 0,
        "minutes": 0,
        "validation_share": 0.2,
        "last_part": 0,
        "margin": 0.01,
        "only_approved": False,
    }


def test_what_slicer_sends_back_is_accepted(make: Callable[[], SemiSupervisedTraining]) -> None:
    config = make().config()
    options = check_options(TrainOptions, {**config, "start_from": "scratch", "steps": "", "minutes": 0})
    assert (options.start_from, options.steps, options.minutes) == ("scratch", 0, 0)
    assert check_options(TrainOptions, config).start_from == "published model"


@pytest.mark.parametrize(
    "option",
    [
        {"steps": -1},
        {"steps": "many"},
        {"minutes": -1},
        {"start_from": "chance"},
        {"validation_share": 0.9},
        {"margin": -1},
    ],
)
def test_an_impossible_option_is_named(
    option: dict[str, Any], make: Callable[[], SemiSupervisedTraining], labelled: StudiesDatastore
) -> None:
    with pytest.raises(HTTPException, match=f"option {next(iter(option))}"):
        make()(option, labelled)


def test_a_training_answers_with_the_version_and_tells_how_it_went(
    make: Callable[[], SemiSupervisedTraining], labelled: StudiesDatastore
) -> None:
    result = make()({**QUICK, "steps": 1, "model": "organ", "client_id": "ann"}, labelled)
    assert (result["published"], result["version"]) == (True, 1)
    assert (result["labelled"], result["unlabelled"]) == (3, 1)
    assert make().stats()["status"] == "done"


def test_nothing_labelled_is_a_sentence_for_the_client(
    make: Callable[[], SemiSupervisedTraining], studies: Path
) -> None:
    with pytest.raises(HTTPException, match="no scan with a usable final label") as caught:
        make()(QUICK, StudiesDatastore(FolderStudies(studies, lambda: [ORGAN])))
    assert caught.value.status_code == 422
    assert make().stats()["status"] == "failed"


def test_a_label_of_another_task_teaches_nothing_here(
    labelled: StudiesDatastore,
) -> None:
    assert labelled.studies.training_label(SCANS[0], "heart") is None
    assert labelled.studies.training_label(SCANS[-1], "organ") is None
    assert labelled.studies.training_label(SCANS[0], "organ") == labelled.studies.history.label(SCANS[0], 1)


def test_a_child_that_fails_ends_with_a_line_in_the_log_and_no_traceback(
    make: Callable[[], SemiSupervisedTraining],
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(trainer, "lower_priority", lambda: None)
    monkeypatch.setattr(trainer, "end_with_the_server", lambda: None)
    with pytest.raises(SystemExit) as caught:
        make()({**QUICK, "local_rank": 0}, StudiesDatastore(FolderStudies(studies, lambda: [ORGAN])))
    assert caught.value.code == 1
    assert caplog.messages[-1].startswith("task organ: no scan with a usable final label")


def test_the_app_asks_nobody_for_scores_after_a_training(
    app: Any, label_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MONAI Label would do it over the network, and call the training failed where that fails.
    def fail(*_: Any) -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(app, "async_scoring", fail)
    app.datastore().save_label("oblique", str(label_file), "final", {})
    assert app.train({"model": "organ", "steps": 1})["version"] == 2
    assert app.info()["train_stats"]["organ"]["status"] == "done"


def test_a_client_cannot_make_the_server_end_itself(
    make: Callable[[], SemiSupervisedTraining], studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(children.SERVER, str(os.getpid()))
    monkeypatch.setattr(trainer, "lower_priority", Mock(side_effect=AssertionError))
    with pytest.raises(HTTPException, match="no scan with a usable final label"):
        make()({**QUICK, "local_rank": 0}, StudiesDatastore(FolderStudies(studies, lambda: [ORGAN])))


def test_a_training_whose_server_is_gone_does_not_begin(
    make: Callable[[], SemiSupervisedTraining], labelled: StudiesDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "lower_priority", lambda: None)
    monkeypatch.setattr(processes.ctypes, "CDLL", Mock())
    monkeypatch.setenv(children.SERVER, "1" if os.getppid() != 1 else "2")
    with pytest.raises(SystemExit, match="has ended"):
        make()({**QUICK, "local_rank": 0}, labelled)
    assert make().stats() == {}


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7)])
def test_a_training_leaves_one_core_alone(cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    children.lower_priority()
    assert asked == [10, threads]
