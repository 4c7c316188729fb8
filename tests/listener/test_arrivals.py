"""What is acknowledged is on the disk, with one wait for it, and comes into its series whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unreliable_disk import PowerCut

from diffcl.errors import OutputError
from diffcl.listener import arrivals
from diffcl.listener.queue import Queue


def receive(queue: Queue, number: int, series: str = "1.2") -> None:
    queue.receive(series, f"1.{number}", f"image {number}".encode())


def images(queue: Queue) -> dict[str, bytes]:
    """What the series of a queue hold, in whatever part of it."""
    return {file.name: file.read_bytes() for file in queue.folder.rglob("*.dcm")}


def test_no_power_cut_takes_an_acknowledged_image(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "UNSETTLED", 4)
    power = PowerCut(queue.folder, monkeypatch)
    disks: list[tuple[int, Path]] = []
    acknowledged = 0

    def cut() -> None:
        for names_kept in (False, True):
            disks.append((acknowledged, power.disk(tmp_path / f"disk{len(disks)}", names_kept=names_kept)))

    seen = power._fsync  # noqa: SLF001

    def fsync(handle: int) -> None:
        cut()  # just before
        seen(handle)

    monkeypatch.setattr("os.fsync", fsync)
    for number in range(10):
        receive(queue, number, series=f"1.{2 + number // 6}")
        acknowledged += 1
        cut()
    queue.complete("1.2")
    cut()
    queue.segmented(queue.jobs("waiting")[0])
    cut()
    monkeypatch.undo()
    power.close()
    assert len(disks) > 40
    for known, disk in disks:
        again = Queue(disk)
        again.recover()
        assert (
            images(again).items()
            >= {f"1.{number}.dcm": f"image {number}".encode() for number in range(known)}.items()
        )
        assert [*(disk / "incoming").iterdir()] == []
        assert all(content for content in images(again).values())


def test_an_image_costs_one_wait_and_many_share_that_for_their_names(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    monkeypatch.setattr(arrivals, "settle", lambda path: settled.append(path.name.partition("_")[0]))
    for number in range(arrivals.UNSETTLED):
        receive(queue, number)
    assert settled == ["1.2", "incoming"] * arrivals.UNSETTLED + ["images", "1.2", "receiving"]
    assert [*(queue.folder / "incoming").iterdir()] == []


def test_what_a_kill_leaves_on_the_way_comes_into_its_series_in_order(queue: Queue) -> None:
    receive(queue, 1)
    queue.receive("1.2", "1.1", b"corrected")
    (queue.folder / "incoming" / "1.2_1.9_00000000_000000000002").write_bytes(b"half")
    (queue.folder / "incoming" / "other").write_bytes(b"")
    (queue.folder / "receiving" / "1.2" / "images" / "1.1.dcm").unlink()
    again = Queue(queue.folder)
    again.recover()
    assert images(again) == {"1.1.dcm": b"corrected"}
    assert [*(queue.folder / "incoming").iterdir()] == []


def test_where_there_are_no_hard_links_an_image_is_moved(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    receive(queue, 1)
    assert images(queue) == {"1.1.dcm": b"image 1"}
    assert [*(queue.folder / "incoming").iterdir()] == []


@pytest.mark.parametrize("name", ["write_bytes", "mkdir"])
def test_an_image_for_which_there_is_no_space_is_refused_and_leaves_nothing(
    queue: Queue, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, name, full)
    with pytest.raises(OutputError, match="No space left"):
        receive(queue, 1)
    monkeypatch.undo()
    assert images(queue) == {}
    assert [*(queue.folder / "incoming").iterdir()] == []
    receive(queue, 1)
    queue.complete("1.2")
    assert images(queue) == {"1.1.dcm": b"image 1"}
