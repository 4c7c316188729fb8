from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock
from study_files import keep_training

from diffcl.studies.progress import Progress
from diffcl.studies.training_overview import MOST_POINTS, MOST_RUNS, TrainingOverview, training_overview


def read(folder: Path) -> TrainingOverview:
    return training_overview("organ", folder, Progress(folder))


def test_a_task_that_was_never_trained_has_nothing(tmp_path: Path) -> None:
    found = read(tmp_path / "nowhere")
    assert (found.told, found.losses, found.scans, found.former, found.runs) == ({}, {}, {}, [], False)
    assert found.minutes_left is None


def test_a_training_at_work_tells_how_long_it_takes_and_what_it_learns_from(tmp_path: Path) -> None:
    folder = keep_training(tmp_path, "training", seconds_left=120, refused={"bad": "bad: is empty"})
    with FileLock(folder / "progress.lock"):
        found = read(folder)
    assert found.runs
    assert found.minutes_left == 2
    assert found.refused == {"bad": "bad: is empty"}
    assert found.scans == {
        "labelled": ["scan0", "scan1", "scan2"],
        "unlabelled": ["other"],
        "validation": ["judge"],
    }
    assert found.losses["L_c"][:2] == [(1, 1.0), (2, 0.5)]
    assert found.validation == [(10, 0.55), (20, 0.6), (30, 0.65), (40, 0.7)]


def test_a_dead_training_has_no_time_left(tmp_path: Path) -> None:
    found = read(keep_training(tmp_path, "training", seconds_left=120))
    assert not found.runs
    assert found.minutes_left is None
    assert found.told["status"] == "stopped"


def test_the_steps_of_a_training_that_was_stopped_are_those_of_its_journal(tmp_path: Path) -> None:
    folder = keep_training(tmp_path, "stopped", epoch=30)
    assert read(folder).told["epoch"] == 40
    with FileLock(keep_training(tmp_path, "training", epoch=30) / "progress.lock"):
        assert read(folder).told["epoch"] == 30


def test_a_long_journal_becomes_a_short_curve_with_the_same_mean(tmp_path: Path) -> None:
    found = read(keep_training(tmp_path, "done", journal=1000))
    curve = found.losses["L_d"]
    assert len(curve) <= MOST_POINTS
    assert curve[-1][0] == 1000
    assert (
        abs(sum(value for _, value in curve) / len(curve) - sum(2 / step for step in range(1, 1001)) / 1000)
        < 1e-9
    )


def test_the_last_runs_are_told_newest_first(tmp_path: Path) -> None:
    folder = keep_training(tmp_path, "done")
    for number in range(1, MOST_RUNS + 3):
        (folder / str(number)).mkdir()
        decision = {"published": number % 2 == 0, "reason": f"Run {number}.", "version": number}
        (folder / str(number) / "decision.json").write_text(json.dumps(decision))
    (folder / "7" / "decision.json").write_text("[]")
    found = read(folder).former
    assert [run.number for run in found] == [number for number in range(MOST_RUNS + 2, 2, -1) if number != 7]
    assert (found[0].published, found[0].reason) == (True, f"Run {MOST_RUNS + 2}.")
    assert found[0].ended == (folder / str(MOST_RUNS + 2) / "decision.json").stat().st_mtime
