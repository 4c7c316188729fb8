from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fastapi import HTTPException
from synthetic import ORGAN, SCANS, make_label, publish_untrained

from diffcl.data.cache import TrainingScan
from diffcl.models import ModelRegistry, load_model
from diffcl.publishing.gate import Decision
from diffcl.recipe import Recipe
from lib import collect as collecting
from lib import trainer as module
from lib.datastore import StudyDatastore
from lib.options import check_options
from lib.trainer import SemiSupervisedTraining, TrainOptions, with_class_values

QUICK = {"steps": 4, "validation_share": 0.3}


@pytest.fixture
def labelled(studies: Path, tmp_path: Path) -> StudyDatastore:
    """The studies, all but one scan labelled."""
    store = StudyDatastore(studies, lambda: [ORGAN])
    for name in SCANS[:-1]:
        sitk.WriteImage(make_label(name), tmp_path / "label.nii.gz")
        store.save_label(name, str(tmp_path / "label.nii.gz"), "final", {})
    return store


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], SemiSupervisedTraining]:
    """Makes the training task, as every process does for itself."""
    store = ModelRegistry(tmp_path / "trained")
    return lambda: SemiSupervisedTraining("organ", lambda: ORGAN, store, tmp_path / "training")


def test_the_options_are_what_viewers_can_show(make: Callable[[], SemiSupervisedTraining]) -> None:
    config = make().config()
    assert config == {
        "start_from": ["published model", "scratch"],
        "networks": ["both", "cs", "ds"],
        "steps": 0,
        "minutes": 0,
        "validation_share": 0.2,
        "margin": 0.01,
    }


def test_what_slicer_sends_back_is_accepted(make: Callable[[], SemiSupervisedTraining]) -> None:
    config = make().config()
    options = check_options(TrainOptions, {**config, "start_from": "scratch", "steps": "", "minutes": 0})
    assert (options.start_from, options.steps, options.minutes) == ("scratch", 0, 0)
    assert check_options(TrainOptions, config).start_from == "published model"


def test_a_training_publishes_and_tells(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore, tmp_path: Path
) -> None:
    result = make()({**QUICK, "model": "organ", "client_id": "ann"}, labelled)
    assert (result["published"], result["version"]) == (True, 1)
    assert (result["labelled"], result["unlabelled"], result["validation"]) == (3, 1, 0)
    told = make().stats()
    assert (told["status"], told["epoch"], told["total_epochs"]) == ("done", 4, 4)
    assert told["message"] == result["reason"]
    json.dumps([result, told], allow_nan=False)
    run = tmp_path / "training" / "1"
    assert {"journal.jsonl", "curves.png", "best.pt", "decision.json"} <= {
        path.name for path in run.iterdir()
    }
    assert not (run / "checkpoint.pt").exists()


def test_a_training_that_was_stopped_continues_where_it_was(
    make: Callable[[], SemiSupervisedTraining],
    labelled: StudyDatastore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    steps: list[int] = []
    train = module.train

    def killed_at_three(*args: Any, on_step: Callable[[Any], None], **kwargs: Any) -> Any:
        def count(progress: Any) -> None:
            on_step(progress)
            steps.append(progress.step)
            if progress.step == 3 and steps.count(3) == 1:
                raise KeyboardInterrupt

        return train(*args, on_step=count, **kwargs)

    monkeypatch.setattr(module, "train", killed_at_three)
    with pytest.raises(KeyboardInterrupt):
        make()(QUICK, labelled)
    assert make().stats()["status"] == "stopped"
    assert make()(QUICK, labelled)["published"]
    assert steps == [1, 2, 3, 4]
    assert [path.name for path in (tmp_path / "training").iterdir() if path.name.isdigit()] == ["1"]


def test_other_options_begin_anew(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[bool] = []

    def stop(*_: Any, resume: bool, **__: Any) -> None:
        resumed.append(resume)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                make()(QUICK, labelled)
    assert make()({**QUICK, "steps": 2}, labelled)["published"]
    assert resumed == [False, False]  # nothing had been written that could be continued


def test_nothing_labelled_is_a_sentence(make: Callable[[], SemiSupervisedTraining], studies: Path) -> None:
    with pytest.raises(HTTPException, match="no scan with a usable final label"):
        make()(QUICK, StudyDatastore(studies, lambda: [ORGAN]))
    told = make().stats()
    assert told["status"] == "failed"
    assert told["message"].startswith("task organ: no scan with a usable final label")


def test_a_training_that_diverges_is_a_sentence_and_publishes_nothing(
    make: Callable[[], SemiSupervisedTraining],
    labelled: StudyDatastore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def broken(*_: Any) -> TrainingScan:
        return TrainingScan(
            "a", torch.full((1, 20, 20, 20), float("nan")), torch.zeros(20, 20, 20, dtype=torch.int64)
        )

    monkeypatch.setattr(collecting, "prepare_case", broken)
    with pytest.raises(HTTPException, match="the loss is not finite"):
        make()(QUICK, labelled)
    assert make().stats()["status"] == "failed"
    assert ModelRegistry(tmp_path / "trained").names() == []


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
    option: dict[str, Any], make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore
) -> None:
    with pytest.raises(HTTPException, match=f"option {next(iter(option))}"):
        make()(option, labelled)


def test_labels_of_the_studies_hold_the_values_of_the_classes() -> None:
    labels = [ORGAN.labels[0].model_copy(update={"sources": (500, 600)}), ORGAN.labels[1]]
    recipe = Recipe.model_validate(ORGAN.model_dump() | {"labels": [label.model_dump() for label in labels]})
    assert [label.source_values for label in with_class_values(recipe).labels] == [(1,), (2,)]
    assert np.array_equal([label.value for label in with_class_values(recipe).labels], [1, 2])


def test_it_goes_on_from_the_published_model(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore, tmp_path: Path
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    result = make()({"steps": 2, "margin": 1.0}, labelled)
    assert (result["published"], result["version"], result["compared_with"]) == (True, 2, 1)
    info = store.info("organ")
    assert info.provenance["parent"] == {"name": "organ", "version": 1}
    assert info.provenance["training"]["learning_rate"] == ORGAN.fine_tuning.learning_rate
    assert info.recipe.training == ORGAN.training
    result = make()({"steps": 2, "start_from": "scratch", "margin": 1.0}, labelled)
    assert store.info("organ").provenance["parent"] is None
    assert store.versions("organ") == [1, 2, 3]


@pytest.mark.parametrize(("alone", "other"), [("cs", "ds"), ("ds", "cs")])
def test_one_network_learns_and_the_other_stays_as_it_is(
    alone: str,
    other: str,
    make: Callable[[], SemiSupervisedTraining],
    labelled: StudyDatastore,
    tmp_path: Path,
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    make()({**QUICK, "networks": alone, "margin": 1}, labelled)
    before, after = (load_model(store.version_folder("organ", number)) for number in (1, 2))
    learned = {name: changed(getattr(before, name), getattr(after, name)) for name in ("cs", "ds")}
    assert learned == {alone: True, other: False}


def changed(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    """Whether two networks of the same shape have other weights."""
    return any(not torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_one_network_cannot_learn_alone_from_scratch(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore
) -> None:
    with pytest.raises(HTTPException) as refused:
        make()({**QUICK, "networks": "ds"}, labelled)
    assert refused.value.status_code == 400
    assert "training DS alone: needs a published model" in refused.value.detail
    assert make().stats()["status"] == "failed"


def test_weights_of_another_shape_are_no_start(
    labelled: StudyDatastore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    wider = ORGAN.changed(ds={"time_features": 16})
    caplog.set_level("INFO")
    result = SemiSupervisedTraining("organ", lambda: wider, store, tmp_path / "training")(
        {"steps": 2, "margin": 1.0}, labelled
    )
    assert result["version"] == 2
    assert "The networks learn from scratch: organ 1 has a DS of another shape." in caplog.messages
    assert store.info("organ").provenance["parent"] is None


def test_a_rejected_version_stays_and_is_not_used(
    make: Callable[[], SemiSupervisedTraining],
    labelled: StudyDatastore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    monkeypatch.setattr(
        "diffcl.publishing.gate._decide", lambda *_: Decision(False, "Not published: worse.", 0.1, 0.9, 1)
    )
    result = make()({"steps": 2}, labelled)
    assert (result["published"], result["version"]) == (False, 2)
    assert make().stats()["message"] == "Not published: worse."
    assert (store.versions("organ"), store.info("organ").version) == ([1, 2], 1)
    decision = json.loads((tmp_path / "training" / "1" / "decision.json").read_text())
    assert decision["reason"] == "Not published: worse."


def test_one_labelled_scan_is_enough(
    make: Callable[[], SemiSupervisedTraining], studies: Path, tmp_path: Path
) -> None:
    store = StudyDatastore(studies, lambda: [ORGAN])
    sitk.WriteImage(make_label("oblique"), tmp_path / "label.nii.gz")
    store.save_label("oblique", str(tmp_path / "label.nii.gz"), "final", {})
    result = make()(QUICK, store)
    assert (result["labelled"], result["unlabelled"], result["validation"]) == (1, 3, 0)
    assert result["published"]


def test_a_time_is_kept_and_the_viewers_see_the_steps_in_it(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore
) -> None:
    start = time.monotonic()
    assert make()({"minutes": 0.02, "steps": 100_000, "start_from": "scratch"}, labelled)["published"]
    assert time.monotonic() - start < 60
    told = make().stats()
    assert 1 <= told["epoch"] == told["total_epochs"] < 1000


def test_scans_that_vanish_meanwhile_do_no_harm(
    make: Callable[[], SemiSupervisedTraining],
    labelled: StudyDatastore,
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = module.train

    def after_the_scans_are_gone(*args: Any, **kwargs: Any) -> Any:
        for path in studies.glob("*.nii.gz"):
            path.unlink()
        shutil.rmtree(studies / "history")
        return begin(*args, **kwargs)

    monkeypatch.setattr(module, "train", after_the_scans_are_gone)
    assert make()(QUICK, labelled)["published"]


def test_whatever_fails_is_told_in_one_line(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("cannot allocate\nso much")

    monkeypatch.setattr(module, "train", fail)
    with pytest.raises(MemoryError):
        make()(QUICK, labelled)
    told = make().stats()
    assert (told["status"], told["message"]) == ("failed", "MemoryError: cannot allocate")
    assert "total_time" in told


def test_a_child_that_fails_ends_with_a_line_in_the_log_and_no_traceback(
    make: Callable[[], SemiSupervisedTraining],
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "keep_out_of_the_way", lambda: None)
    monkeypatch.setattr(module, "end_with_the_server", lambda: None)
    with pytest.raises(SystemExit) as caught:
        make()({**QUICK, "local_rank": 0}, StudyDatastore(studies, lambda: [ORGAN]))
    assert caught.value.code == 1
    assert caplog.messages[-1].startswith("task organ: no scan with a usable final label")


def test_a_full_disk_is_told_and_the_run_continues_when_there_is_space(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:671]")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(HTTPException, match="not all of it could be written"):
            make()(QUICK, labelled)
    assert make().stats()["status"] == "failed"
    assert make()(QUICK, labelled)["published"]


def test_scans_that_are_left_out_are_named_in_the_status_and_in_the_log(
    make: Callable[[], SemiSupervisedTraining],
    labelled: StudyDatastore,
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    taught, unlabelled = SCANS[0], SCANS[-1]
    sitk.WriteImage(make_label(taught)[:-1], labelled.history.label(taught, 1))
    listed = labelled.list_images()
    (studies / f"{unlabelled}.nii.gz").unlink()
    monkeypatch.setattr(labelled, "list_images", lambda: listed)
    assert make()(QUICK, labelled)["published"]
    refused = make().stats()["refused"]
    assert set(refused) == {taught, unlabelled}
    assert "lies on another grid" in refused[taught]
    for name, why in refused.items():
        assert f"{name} is left out: {why}" in caplog.messages


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
    monkeypatch.setenv(module.SERVER, str(os.getpid()))
    monkeypatch.setattr(module, "keep_out_of_the_way", Mock(side_effect=AssertionError))
    with pytest.raises(HTTPException, match="no scan with a usable final label"):
        make()({**QUICK, "local_rank": 0}, StudyDatastore(studies, lambda: [ORGAN]))


def test_a_training_whose_server_is_gone_does_not_begin(
    make: Callable[[], SemiSupervisedTraining], labelled: StudyDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "keep_out_of_the_way", lambda: None)
    monkeypatch.setattr(module.ctypes, "CDLL", Mock())
    monkeypatch.setenv(module.SERVER, "1" if os.getppid() != 1 else "2")
    with pytest.raises(SystemExit, match="The server ended"):
        make()({**QUICK, "local_rank": 0}, labelled)
    assert make().stats() == {}


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7)])
def test_a_training_leaves_one_core_alone(cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    module.keep_out_of_the_way()
    assert asked == [10, threads]
