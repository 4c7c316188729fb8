from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.errors import OutputError
from diffcl.io.dicom.series_write import write_series
from diffcl.listener import queue as module
from diffcl.listener.queue import Queue


def receive(queue: Queue, series: str = "1.2", uids: str = "12") -> None:
    for uid in uids:
        queue.receive(series, uid, b"image " + uid.encode())


def files(queue: Queue) -> list[str]:
    """All files, other than those that are on their way."""
    found = (str(path.relative_to(queue.folder)) for path in queue.folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith("incoming/"))


def test_a_series_goes_through_all_parts(queue: Queue) -> None:
    receive(queue)
    assert files(queue) == ["receiving/1.2/images/1.dcm", "receiving/1.2/images/2.dcm"]
    job = queue.complete("1.2")
    assert (job.state, job.uid, job.notes()["count"]) == ("waiting", "1.2", 2)
    (job.folder / "segmentation.dcm").write_bytes(b"seg")
    job = queue.segmented(job)
    assert [path.name for path in job.results] == ["segmentation.dcm"]
    queue.sent(job)
    assert files(queue) == [
        "done/1.2.json", "kept/1.2/images/1.dcm", "kept/1.2/images/2.dcm", "kept/1.2/job.json"
    ]  # fmt: skip
    (record,) = queue.done()
    assert (record["series"], record["count"]) == ("1.2", 2)


def test_another_process_finds_everything_where_it_was(queue: Queue) -> None:
    receive(queue, "1.1")
    receive(queue, "1.2")
    queue.complete("1.2")
    again = Queue(queue.folder)
    assert [job.uid for job in again.jobs("receiving")] == ["1.1"]
    assert [job.uid for job in again.jobs("waiting")] == ["1.2"]


def test_images_that_come_late_join_those_that_wait(queue: Queue) -> None:
    receive(queue, uids="12")
    queue.complete("1.2")
    receive(queue, uids="23")
    assert queue.complete("1.2").notes()["count"] == 3
    assert queue.jobs("receiving") == []


def test_a_series_sent_once_more_takes_the_place_of_its_result(queue: Queue) -> None:
    for content in (b"old", b"new"):
        receive(queue)
        job = queue.complete("1.2")
        (job.folder / "segmentation.dcm").write_bytes(content)
        queue.segmented(job)
    (job,) = queue.jobs("sending")
    assert job.results[0].read_bytes() == b"new"


@pytest.mark.parametrize("state", ["sending", "failed", "kept"])
def test_images_that_come_late_join_those_that_were_segmented(queue: Queue, state: str) -> None:
    receive(queue, uids="12")
    job = queue.complete("1.2")
    if state == "failed":
        queue.give_up(job, "a gap")
    else:
        (job.folder / "segmentation.dcm").write_bytes(b"seg")
        job = queue.segmented(job)
        if state == "kept":
            queue.sent(job)
    receive(queue, uids="23")
    again = queue.complete("1.2")
    assert sorted(path.name for path in again.images.iterdir()) == ["2.dcm", "3.dcm"]
    assert [path.name for path in again.earlier.iterdir()] == ["1.dcm"]
    assert (again.results, again.notes()["count"], again.notes()["error"]) == ([], 3, "")
    assert again.notes().get("sent") == (2 if state == "kept" else None)
    assert [len(queue.jobs(part)) for part in module.STATES] == [0, 1, 0, 0]
    assert queue.segmented(again).count == 3
    assert not again.earlier.exists()


def test_what_was_sent_while_images_came_late_is_known_to_be_replaced(queue: Queue) -> None:
    receive(queue, uids="12")
    sending = queue.segmented(queue.complete("1.2"))
    receive(queue, uids="3")
    again = queue.complete("1.2")
    queue.sent(sending)
    assert again.notes()["sent"] == 2
    assert again.count == 3


def test_kept_images_are_bounded_by_time_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(tmp_path / "queue", kept_hours=1, kept_bytes=3000)
    now = time.time()
    for number in range(3):
        monkeypatch.setattr(time, "time", lambda number=number: now + number)
        queue.receive(f"1.{number}", "1", bytes(1200))
        queue.sent(queue.segmented(queue.complete(f"1.{number}")))
    assert sorted(folder.name for folder in (queue.folder / "kept").iterdir()) == ["1.1", "1.2"]
    monkeypatch.setattr(time, "time", lambda: now + 3602)
    queue.prune()
    assert [folder.name for folder in (queue.folder / "kept").iterdir()] == ["1.2"]


def test_kept_images_go_before_anything_is_refused(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(queue, uids="12")
    queue.sent(queue.segmented(queue.complete("1.2")))
    disk = shutil.disk_usage(queue.folder)
    kept = queue.folder / "kept" / "1.2"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=0 if kept.exists() else disk.free))
    receive(queue, "1.3")
    assert not kept.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=0))
    with pytest.raises(OutputError, match="No space left on device"):
        receive(queue, "1.4")
    assert not list((queue.folder / "incoming").glob("1.4_*"))


def test_different_images_with_one_identifier_are_both_kept(queue: Queue, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5))
    files = write_series(image, tmp_path / "series")
    first, second, _ = (file.read_bytes() for file in files)
    for content in (first, second, second, first):
        queue.receive("1.2", "1", content)
    images = queue.folder / "receiving" / "1.2" / "images"
    assert {file.name: file.read_bytes() for file in images.iterdir()} == {"1.dcm": first, "1-2.dcm": second}
    other = first.replace(b"120000", b"130000")  # the same place: one that was corrected
    queue.receive("1.2", "1", other)
    assert {file.name: file.read_bytes() for file in images.iterdir()} == {"1.dcm": other, "1-2.dcm": second}


def test_the_first_that_came_is_due_first(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, series in enumerate(["1.9", "1.1", "1.5"]):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: 1000.0 + seconds)
        receive(queue, series)
        queue.complete(series)
    assert [job.uid for job in queue.jobs("waiting")] == ["1.9", "1.1", "1.5"]


def test_waits_double_up_to_the_longest(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    receive(queue)
    job = queue.complete("1.2")
    waits = []
    for attempt in range(1, 10):
        assert job.begin() == attempt
        waits.append(job.notes()["not_before"] - 1000)
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert queue.due("waiting") is None
    monkeypatch.setattr(time, "time", lambda: 1601.0)
    assert queue.due("waiting").uid == "1.2"


@pytest.mark.parametrize("part", ["waiting", "sending"])
def test_what_was_set_aside_can_be_taken_up_where_it_stood(queue: Queue, part: str) -> None:
    receive(queue)
    job = queue.complete("1.2")
    if part == "sending":
        job = queue.segmented(job)
    queue.give_up(job, "the reason")
    (job,) = queue.jobs("failed")
    assert job.notes()["error"] == "the reason"
    assert queue.take_up() == 1
    assert [job.uid for job in queue.jobs(part)] == ["1.2"]
    assert queue.due(part).begin() == 1


def test_records_do_not_grow_without_end(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORDS", 3)
    for number in range(6):
        receive(queue, f"1.{number}")
        queue.sent(queue.segmented(queue.complete(f"1.{number}")))
    assert len(list(queue.done())) == 3
    assert len([file for file in files(queue) if file.startswith("done/")]) == 3


@pytest.mark.parametrize(
    "action", [Queue, lambda folder: receive(Queue(folder.parent / "fine"))], ids=["make", "receive"]
)
def test_a_queue_that_cannot_be_written_is_said(action: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    if action is not Queue:
        Queue(tmp_path / "fine")
        (tmp_path / "fine/receiving").rmdir()
        (tmp_path / "fine/receiving").write_bytes(b"")
    with pytest.raises((OutputError, FileExistsError), match="cannot be written"):
        action(tmp_path / "file")
