from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from filelock import FileLock

from diffcl.errors import OutputError
from diffcl.studies.progress import Progress


def test_without_a_training_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert Progress(tmp_path / "organ").read() == {}


def test_another_process_reads_how_it_goes(tmp_path: Path) -> None:
    writer, reader = Progress(tmp_path), Progress(tmp_path)
    with writer.running(100):
        assert reader.read()["status"] == "preparing"
        writer.tell("training", "The networks learn.", epoch=7)
        told = reader.read()
        assert (told["epoch"], told["total_epochs"], told["status"]) == (7, 100, "training")
        assert "total_time" not in told  # Slicer takes that for the end
        writer.tell("done", "Published.", epoch=100, best_metric=0.5)
    told = reader.read()
    assert (told["status"], told["best_metric"], told["message"]) == ("done", 0.5, "Published.")
    assert told["total_time"] == "0:00:00"


def test_a_training_whose_process_is_gone_was_stopped(tmp_path: Path) -> None:
    writer, reader = Progress(tmp_path), Progress(tmp_path)
    with writer.running(100):
        writer.tell("training", "The networks learn.", epoch=7)
    told = reader.read()
    assert (told["status"], told["epoch"]) == ("stopped", 7)
    assert "total_time" in told


def test_numbers_that_are_not_finite_reach_no_viewer(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    with progress.running(100):
        progress.tell("training", "The networks learn.", losses={"L_c": float("nan")})
        json.dumps(progress.read(), allow_nan=False)


def test_a_damaged_note_does_not_keep_viewers_away(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text("{")
    assert Progress(tmp_path).read() == {}


def test_a_full_disk_is_told_although_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    writer = Progress(tmp_path)
    with writer.running(100), monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        for _ in range(2):
            with pytest.raises(OutputError, match="No space left"):
                writer.tell("training", "The networks learn.", epoch=7)
    told = Progress(tmp_path).read()
    assert told["status"] == "failed"
    assert "the disk is full" in told["message"]
    assert {"epoch", "total_epochs", "best_metric", "total_time"} <= told.keys()
    with writer.running(100):
        assert writer.read()["status"] == "preparing"


def test_a_training_that_cannot_begin_on_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    progress = Progress(tmp_path)
    with progress.running(100):
        progress.tell("done", "Published.")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError), progress.running(100):
        pass
    assert "the disk is full" in progress.read()["message"]


def test_on_a_disk_that_takes_nothing_no_training_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(tmp_path)
    with progress.running(100):
        progress.tell("training", "The networks learn.")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert progress.read()["status"] == "stopped"
