from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diffcl.errors import OutputError
from diffcl.listener import queue as module
from diffcl.listener.queue import Queue


def receive(queue: Queue, series: str = "1.2", uids: str = "12") -> None:
    for uid in uids:
        queue.receive(series, uid, b"image " + uid.encode())


def files(queue: Queue) -> list[str]:
    return sorted(str(path.relative_to(queue.folder)) for path in queue.folder.rglob("*") if path.is_file())


def test_a_series_goes_through_all_parts(queue: Queue) -> None:
    receive(queue)
    assert files(queue) == ["receiving/1.2/images/1.dcm", "receiving/1.2/images/2.dcm"]
    job = queue.complete("1.2")
    assert (job.state, job.uid, job.notes()["count"]) == ("waiting", "1.2", 2)
    (job.folder / "segmentation.dcm").write_bytes(b"seg")
    job = queue.segmented(job)
    assert [path.name for path in job.results] == ["segmentation.dcm"]
    assert not job.images.exists()
    queue.sent(job)
    assert files(queue) == ["done/1.2.json"]
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
    assert len(files(queue)) == 3


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
