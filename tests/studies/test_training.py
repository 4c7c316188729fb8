from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from filelock import FileLock
from outlined import Outlined
from synthetic import ORGAN, SCANS, make_label, publish_untrained
from unreliable_disk import FAILING_DISK

from diffcl import files
from diffcl.data.cache import TrainingScan
from diffcl.errors import DiffclError, OutputError, TooShortError, UnwritableError, UsageError
from diffcl.models import ModelRegistry, load_model
from diffcl.publishing.gate import Decision
from diffcl.recipe import Recipe
from diffcl.studies import training as module
from diffcl.studies import training_cases as finding
from diffcl.studies.training import StudyTraining, with_class_values
from diffcl.studies.training_options import TrainingOptions
from diffcl.training.costs import Costs

QUICK = TrainingOptions(steps=4, validation_share=0.3)


@pytest.fixture
def labelled(studies: Path) -> Outlined:
    """The studies, all but one scan labelled."""
    outlined = Outlined(studies)
    for name in SCANS[:-1]:
        outlined.outline(name)
    return outlined


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], StudyTraining]:
    """Makes the training, as every process does for itself."""
    store = ModelRegistry(tmp_path / "trained")
    return lambda: StudyTraining("organ", lambda: ORGAN, store, tmp_path / "training")


def test_a_training_publishes_and_tells(
    make: Callable[[], StudyTraining], labelled: Outlined, tmp_path: Path
) -> None:
    result = make().run(QUICK, labelled)
    assert (result["published"], result["version"]) == (True, 1)
    assert (result["labelled"], result["unlabelled"], result["validation"]) == (3, 1, 0)
    told = make().progress.read()
    assert (told["status"], told["epoch"], told["total_epochs"]) == ("done", 4, 4)
    assert told["message"] == result["reason"]
    json.dumps([result, told], allow_nan=False)
    run = tmp_path / "training" / "1"
    assert {"journal.jsonl", "curves.png", "best.pt", "decision.json"} <= {
        path.name for path in run.iterdir()
    }
    assert not (run / "checkpoint.pt").exists()


def test_what_judged_teaches_before_the_version_goes_out(
    make: Callable[[], StudyTraining], labelled: Outlined, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(finding, "ENOUGH_TO_VALIDATE", 3)
    monkeypatch.setattr("diffcl.publishing.candidate.FORGOTTEN", 1.0)
    result = make().run(QUICK.model_copy(update={"last_part": 0.25}), labelled)
    assert (result["labelled"], result["validation"]) == (2, 1)
    assert "At the end the scan that judged it taught as well" in result["reason"]
    assert make().progress.read()["epoch"] == 4
    last = tmp_path / "training" / "1" / "last"
    assert {path.name for path in last.iterdir()} == {"journal.jsonl", "curves.png", "best.pt"}
    apart = make().run(QUICK.model_copy(update={"margin": 1}), labelled)
    assert "At the end" not in apart["reason"]
    assert not (tmp_path / "training" / "2" / "last").exists()


def test_a_training_that_was_stopped_continues_where_it_was(
    make: Callable[[], StudyTraining],
    labelled: Outlined,
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
        make().run(QUICK, labelled)
    assert make().progress.read()["status"] == "stopped"
    assert make().run(QUICK, labelled)["published"]
    assert steps == [1, 2, 3, 4]
    assert [path.name for path in (tmp_path / "training").iterdir() if path.name.isdigit()] == ["1"]


def test_other_options_begin_anew(
    make: Callable[[], StudyTraining], labelled: Outlined, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[bool] = []

    def stop(*_: Any, resume: bool, **__: Any) -> None:
        resumed.append(resume)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                make().run(QUICK, labelled)
    assert make().run(QUICK.model_copy(update={"steps": 2}), labelled)["published"]
    assert resumed == [False, False]  # nothing had been written that could be continued


def test_a_training_computes_on_the_device_of_the_server(
    labelled: Outlined, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    devices: list[str] = []

    def stop(*_: Any, device: str, **__: Any) -> None:
        devices.append(device)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stop)
    store = ModelRegistry(tmp_path / "trained")
    with pytest.raises(KeyboardInterrupt):
        StudyTraining("organ", lambda: ORGAN, store, tmp_path / "training", "cuda").run(QUICK, labelled)
    assert devices == ["cuda"]


def test_nothing_labelled_is_a_sentence(make: Callable[[], StudyTraining], studies: Path) -> None:
    with pytest.raises(DiffclError, match="no scan with a usable final label"):
        make().run(QUICK, Outlined(studies))
    told = make().progress.read()
    assert told["status"] == "failed"
    assert told["message"].startswith("task organ: no scan with a usable final label")


def test_a_training_that_diverges_is_a_sentence_and_publishes_nothing(
    make: Callable[[], StudyTraining],
    labelled: Outlined,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def broken(*_: Any) -> TrainingScan:
        return TrainingScan(
            "a", torch.full((1, 20, 20, 20), float("nan")), torch.ones(20, 20, 20, dtype=torch.int64)
        )

    monkeypatch.setattr(finding, "prepare_case", broken)
    with pytest.raises(DiffclError, match="the loss is not finite"):
        make().run(QUICK, labelled)
    assert make().progress.read()["status"] == "failed"
    assert ModelRegistry(tmp_path / "trained").names() == []


def test_labels_of_the_studies_hold_the_values_of_the_classes() -> None:
    labels = [ORGAN.labels[0].model_copy(update={"sources": (500, 600)}), ORGAN.labels[1]]
    recipe = Recipe.model_validate(ORGAN.model_dump() | {"labels": [label.model_dump() for label in labels]})
    assert [label.source_values for label in with_class_values(recipe).labels] == [(1,), (2,)]
    assert np.array_equal([label.value for label in with_class_values(recipe).labels], [1, 2])


def test_it_goes_on_from_the_published_model(
    make: Callable[[], StudyTraining], labelled: Outlined, tmp_path: Path
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    result = make().run(TrainingOptions(steps=2, margin=1.0), labelled)
    assert (result["published"], result["version"], result["compared_with"]) == (True, 2, 1)
    info = store.info("organ")
    assert info.provenance["parent"] == {"name": "organ", "version": 1}
    assert info.provenance["training"]["learning_rate"] == ORGAN.fine_tuning.learning_rate
    assert info.recipe.training == ORGAN.training
    result = make().run(TrainingOptions(steps=2, start_from="scratch", margin=1.0), labelled)
    assert store.info("organ").provenance["parent"] is None
    assert store.versions("organ") == [1, 2, 3]


@pytest.mark.parametrize(("alone", "other"), [("cs", "ds"), ("ds", "cs")])
def test_one_network_learns_and_the_other_stays_as_it_is(
    alone: str,
    other: str,
    make: Callable[[], StudyTraining],
    labelled: Outlined,
    tmp_path: Path,
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    make().run(QUICK.model_copy(update={"networks": alone, "margin": 1}), labelled)
    before, after = (load_model(store.version_folder("organ", number)) for number in (1, 2))
    learned = {name: changed(getattr(before, name), getattr(after, name)) for name in ("cs", "ds")}
    assert learned == {alone: True, other: False}


def changed(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    """Whether two networks of the same shape have other weights."""
    return any(not torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_one_network_cannot_learn_alone_from_scratch(
    make: Callable[[], StudyTraining], labelled: Outlined
) -> None:
    with pytest.raises(UsageError) as refused:
        make().run(QUICK.model_copy(update={"networks": "ds"}), labelled)
    assert "training DS alone: needs a published model" in str(refused.value)
    assert make().progress.read()["status"] == "failed"


def test_weights_of_another_shape_are_no_start(
    labelled: Outlined, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    wider = ORGAN.changed(ds={"time_features": 16})
    caplog.set_level("INFO")
    result = StudyTraining("organ", lambda: wider, store, tmp_path / "training").run(
        TrainingOptions(steps=2, margin=1.0), labelled
    )
    assert result["version"] == 2
    assert "The networks learn from scratch: organ 1 has a DS of another shape." in caplog.messages
    assert store.info("organ").provenance["parent"] is None


def test_a_rejected_version_stays_and_is_not_used(
    make: Callable[[], StudyTraining],
    labelled: Outlined,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    store = ModelRegistry(tmp_path / "trained")
    publish_untrained(store)
    monkeypatch.setattr(
        "diffcl.publishing.gate._decide", lambda *_: Decision(False, "Not published: worse.", 0.1, 0.9, 1)
    )
    result = make().run(TrainingOptions(steps=2), labelled)
    assert (result["published"], result["version"]) == (False, 2)
    assert make().progress.read()["message"] == "Not published: worse."
    assert (store.versions("organ"), store.info("organ").version) == ([1, 2], 1)
    decision = json.loads((tmp_path / "training" / "1" / "decision.json").read_text())
    assert decision["reason"] == "Not published: worse."


def test_one_labelled_scan_is_enough(make: Callable[[], StudyTraining], studies: Path) -> None:
    store = Outlined(studies)
    store.outline("oblique")
    result = make().run(QUICK, store)
    assert (result["labelled"], result["unlabelled"], result["validation"]) == (1, 3, 0)
    assert result["published"]


def test_a_time_is_kept_and_the_viewers_see_the_steps_in_it(
    make: Callable[[], StudyTraining], labelled: Outlined, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, now, told = module.train, [1000.0], []

    def by_the_clock(*args: Any, on_step: Callable[[Any], None], spent: float, **kwargs: Any) -> Any:
        def step_of_five_seconds(progress: Any) -> None:
            on_step(progress)
            told.append(make().progress.read())
            now[0] += 5

        assert spent > 0
        return train(*args, on_step=step_of_five_seconds, clock=lambda: now[0], **kwargs)

    monkeypatch.setattr(module, "train", by_the_clock)
    monkeypatch.setattr("diffcl.training.schedule.LEARNED_SHARE", 0.001)
    assert make().run(TrainingOptions(minutes=2, steps=100_000, start_from="scratch"), labelled)["published"]
    assert 60 <= now[0] - 1000 <= 95
    assert told[0]["seconds_left"] == 120
    assert told[0]["message"] == "The networks learn. About 2 minutes left."
    ended = make().progress.read()
    assert 12 <= ended["epoch"] == ended["total_epochs"] <= 19
    assert "seconds_left" not in ended


def test_a_time_too_short_to_learn_is_told_and_nothing_is_published(
    make: Callable[[], StudyTraining],
    labelled: Outlined,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("diffcl.training.loop.measure_costs", lambda *_: Costs(step=60.0, validation=0.0))
    with pytest.raises(TooShortError, match=r"^1 minutes: are too short to learn here"):
        make().run(TrainingOptions(minutes=1), labelled)
    told = make().progress.read()
    assert told["status"] == "failed"
    assert told["message"].startswith("1 minutes: are too short to learn here")
    assert ModelRegistry(tmp_path / "trained").names() == []
    assert not (tmp_path / "training" / "current").exists()


def test_scans_that_vanish_meanwhile_do_no_harm(
    make: Callable[[], StudyTraining],
    labelled: Outlined,
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = module.train

    def after_the_scans_are_gone(*args: Any, **kwargs: Any) -> Any:
        for path in studies.glob("*.nii.gz"):
            path.unlink()
        for folder in ("labels", "history"):
            shutil.rmtree(studies / folder)
        return begin(*args, **kwargs)

    monkeypatch.setattr(module, "train", after_the_scans_are_gone)
    assert make().run(QUICK, labelled)["published"]


def test_whatever_fails_is_told_in_one_line(
    make: Callable[[], StudyTraining], labelled: Outlined, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("cannot allocate\nso much")

    monkeypatch.setattr(module, "train", fail)
    with pytest.raises(MemoryError):
        make().run(QUICK, labelled)
    told = make().progress.read()
    assert (told["status"], told["message"]) == ("failed", "MemoryError: cannot allocate")
    assert "total_time" in told


def test_a_full_disk_is_told_and_the_run_continues_when_there_is_space(
    make: Callable[[], StudyTraining], labelled: Outlined, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:671]")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(DiffclError, match="not all of it could be written"):
            make().run(QUICK, labelled)
    assert make().progress.read()["status"] == "failed"
    assert make().run(QUICK, labelled)["published"]


def test_a_disk_so_full_that_not_even_that_can_be_written_is_told(
    make: Callable[[], StudyTraining], labelled: Outlined, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after='"judging"')
        with pytest.raises(OutputError, match="No space left"):
            make().run(QUICK, labelled)
    told = make().progress.read()
    assert told["status"] == "failed"
    assert "the disk is full" in told["message"]
    assert make().run(QUICK, labelled)["published"]
    assert make().progress.read()["status"] == "done"


@pytest.mark.parametrize(
    ("code", "first", "what", "action"),
    [
        (errno.ENOSPC, 0, "No space left on device", "Make space on the disk of"),
        (errno.ENOSPC, 8, "No space left on device", "Make space on the disk of"),
        (errno.EROFS, 0, "Read-only file system", "Let .* be written again"),
    ],
)
def test_a_disk_that_takes_nothing_is_told_in_one_sentence_with_what_to_do(
    code: int,
    first: int,
    what: str,
    action: str,
    make: Callable[[], StudyTraining],
    labelled: Outlined,
    tmp_path: Path,
) -> None:
    with (
        FAILING_DISK.failing(tmp_path / "training", first, 10**6, code),
        pytest.raises(
            OutputError,
            match=f"^training of organ: .* cannot be (written|made) \\({what}\\). {action}.*Then train again",
        ),
    ):
        make().run(QUICK, labelled)


def test_a_disk_without_locks_is_told_in_one_sentence(
    make: Callable[[], StudyTraining], labelled: Outlined, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with pytest.raises(UnwritableError, match=r"^training of organ: .*Read-only"):
        make().run(QUICK, labelled)


def fill_the_disk(patch: pytest.MonkeyPatch, after: str) -> None:
    """From the file that holds a certain text on, none can be written any more."""
    full = False
    write = files.Path.write_bytes

    def fail_when_full(path: Path, content: bytes) -> int:
        nonlocal full
        full = full or after in content.decode(errors="replace")
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    patch.setattr(files.Path, "write_bytes", fail_when_full)


def test_scans_that_are_left_out_are_named_in_the_status_and_in_the_log(
    make: Callable[[], StudyTraining],
    labelled: Outlined,
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    taught, unlabelled = SCANS[0], SCANS[-1]
    moved = make_label(taught)
    moved.SetOrigin([value + 1.0 for value in moved.GetOrigin()])
    sitk.WriteImage(moved, labelled.outline(taught))
    listed = labelled.scans()
    (studies / f"{unlabelled}.nii.gz").unlink()
    monkeypatch.setattr(labelled, "scans", lambda: listed)
    assert make().run(QUICK, labelled)["published"]
    refused = make().progress.read()["refused"]
    assert set(refused) == {taught, unlabelled}
    assert "lies on another grid" in refused[taught]
    for name, why in refused.items():
        assert f"{name} is left out: {why}" in caplog.messages
