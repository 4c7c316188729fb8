"""The listener between a real sender and a real receiver, over loopback."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import psutil
import pydicom
import pytest
import SimpleITK as sitk
from orthanc import Orthanc, free_port
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage, generate_uid
from pynetdicom import AE, evt
from synthetic import ORGAN, publish_untrained

from diffcl.cli.main import run
from diffcl.errors import ArchiveDownError, OutputError, UsageError
from diffcl.files import write_text
from diffcl.inference import Predictor
from diffcl.io import read_scan
from diffcl.io.dicom.releases import save_dicom
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicom.seg_write import write_annotation
from diffcl.listener.destination import Destination, destination
from diffcl.listener.queue import STATES, Queue
from diffcl.listener.receiver import Receiver, _Limited
from diffcl.listener.service import Listener, rest
from diffcl.listener.sole_listener import is_running
from diffcl.models import ModelRegistry

# pynetdicom leaves the socket of a peer open that was killed or that broke off, which is found at some later time.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Send = Callable[..., list[int]]
Series = Callable[..., tuple[Path, ...]]


class Pacs:
    """An archive that takes segmentations by C-STORE, and answers as it is told."""

    def __init__(self) -> None:
        self.status = 0x0000
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()
        self.got: list[Dataset] = []
        self.port = free_port()
        entity = AE(ae_title="PACS")
        entity.require_called_aet = True
        entity.add_supported_context(SegmentationStorage)
        entity.add_supported_context(Comprehensive3DSRStorage)
        self.server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._take)]
        )

    def _take(self, event: evt.Event) -> int:
        self.asked.set()
        assert self.may_answer.wait(120)
        if self.status == 0:
            one = event.dataset
            one.file_meta = event.file_meta
            self.got.append(one)
        return self.status


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    pacs = Pacs()
    yield pacs
    pacs.server.shutdown()
    gc.collect()  # here, where what pynetdicom leaves open is forgiven


def wait_for(done: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def listening(queue: Queue, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a listener in a thread while the block runs; gives its port and what it tells."""
    monkeypatch.setattr("diffcl.listener.job.FIRST_WAIT", 0.2)

    @contextmanager
    def run_listener(to: Destination, quiet: float = 0.3, **more: Any) -> Iterator[tuple[int, list[str]]]:
        told: list[str] = []
        port, stop = free_port(), threading.Event()
        receiver = Receiver(queue, "DIFFCL", "127.0.0.1", port, quiet)
        model = more.pop("predictor", predictor)
        listener = Listener(queue, receiver, model, to, tell=told.append, **more)
        thread = threading.Thread(target=listener.run, args=(stop,))
        thread.start()
        wait_for(lambda: receiver._server is not None)  # noqa: SLF001
        try:
            yield port, told
        finally:
            stop.set()
            thread.join()

    return run_listener


def to(pacs: Pacs) -> Destination:
    return destination(f"PACS@127.0.0.1:{pacs.port}", "DIFFCL")


def test_a_series_comes_in_and_its_segmentation_goes_out(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, predictor: Predictor, tmp_path: Path
) -> None:
    files = series("oblique")
    with listening(to(pacs)) as (port, told):
        assert set(send(port, files[::2])) == {0}  # two associations, as some scanners do
        assert set(send(port, files[1::2])) == {0}
        wait_for(lambda: len(list(queue.done())) == 1)
    (one,) = pacs.got
    save_dicom(one, tmp_path / "seg.dcm")
    source = read_scan(files[0].parent)
    got = read_seg(tmp_path / "seg.dcm", source, ORGAN.labels)
    want = predictor(source).label
    np.testing.assert_array_equal(sitk.GetArrayFromImage(got), sitk.GetArrayFromImage(want))
    assert one.PatientID == "oblique"
    assert any("13 images received" in sentence for sentence in told)
    (record,) = queue.done()
    assert (record["model"], record["version"], record["count"]) == ("organ", 1, 13)
    assert not any(queue.jobs(state) for state in STATES)


def test_many_series_leave_nothing_behind(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue
) -> None:
    with listening(to(pacs)) as (port, _):
        for number in range(3):
            send(port, series("straight", f"scan {number}"))
        wait_for(lambda: len(list(queue.done())) == 3)
    assert len({str(one.SOPInstanceUID) for one in pacs.got}) == 3
    left = [path for path in queue.folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert {path.relative_to(queue.folder).parts[0] for path in left} == {"done", "kept"}


def test_a_report_is_sent_when_asked_for(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue
) -> None:
    with listening(to(pacs), report=True) as (port, _):
        send(port, series("oblique"))
        wait_for(lambda: len(list(queue.done())) == 1)
    assert sorted(one.Modality for one in pacs.got) == ["SEG", "SR"]


def test_results_go_to_a_dicomweb_archive_too(
    listening: Any, orthanc: Orthanc, send: Send, series: Series, queue: Queue
) -> None:
    with listening(destination(orthanc.url, "DIFFCL")) as (port, _):
        send(port, series("oblique", "sent by the listener"))
        wait_for(lambda: len(list(queue.done())) == 1)
    assert len(orthanc.find("Series", PatientID="sent by the listener", Modality="SEG")) == 1


def test_results_wait_for_an_archive_that_does_not_take_them(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue
) -> None:
    pacs.status = 0xA700
    with listening(to(pacs)) as (port, told):
        send(port, series("oblique"))
        wait_for(lambda: any("did not store an object (status A700h)" in sentence for sentence in told))
        assert len(queue.jobs("sending")) == 1
        pacs.status = 0x0000
        wait_for(lambda: len(list(queue.done())) == 1)
    assert len(pacs.got) == 1


def test_what_cannot_be_sent_is_given_up_at_last(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.listener.service.MOST_ATTEMPTS", 2)
    pacs.status = 0xA700
    with listening(to(pacs)) as (port, _):
        send(port, series("oblique"))
        wait_for(lambda: len(queue.jobs("failed")) == 1)
    (job,) = queue.jobs("failed")
    assert "status A700h" in job.notes()["error"]
    assert len(job.results) == 1


def test_a_series_that_cannot_be_segmented_is_set_aside_and_the_next_goes_on(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue
) -> None:
    gap = series("straight", "with a gap")
    with listening(to(pacs)) as (port, _):
        send(port, gap[:5] + gap[7:])
        send(port, series("oblique"))
        wait_for(lambda: len(list(queue.done())) == 1)
        wait_for(lambda: len(queue.jobs("failed")) == 1)
    (job,) = queue.jobs("failed")
    assert "between slices" in job.notes()["error"]


def result_of(one: Dataset, folder: Path, series: Path) -> np.ndarray:
    """What a segmentation that was sent says of the whole series."""
    save_dicom(one, folder / "sent.dcm")
    return sitk.GetArrayFromImage(read_seg(folder / "sent.dcm", read_scan(series), ORGAN.labels))


def test_a_series_that_comes_in_two_halves_is_segmented_again_as_a_whole(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, predictor: Predictor, tmp_path: Path
) -> None:
    files = series("oblique")
    with listening(to(pacs)) as (port, told):
        send(port, files[:7])
        wait_for(lambda: len(pacs.got) == 1)
        wait_for(lambda: bool(list((queue.folder / "kept").iterdir())))
        send(port, files[7:])
        wait_for(lambda: len(pacs.got) == 2 and next(queue.done())["count"] == 13)
    first, second = pacs.got
    assert first.SOPInstanceUID != second.SOPInstanceUID
    want = sitk.GetArrayFromImage(predictor(read_scan(files[0].parent)).label)
    np.testing.assert_array_equal(result_of(second, tmp_path, files[0].parent), want)
    assert second.ContentDescription == "organ 1, 13 images, replaces that of 7"
    assert any("it takes the place of one that was made from 7 images" in sentence for sentence in told)
    (record,) = queue.done()
    assert "it takes the place of one that was made from 7 images" in record["warnings"]


def test_a_gap_that_is_filled_later_is_segmented(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue
) -> None:
    files = series("oblique")
    with listening(to(pacs)) as (port, _):
        send(port, files[:5] + files[7:])
        wait_for(lambda: len(queue.jobs("failed")) == 1)
        send(port, files[5:7])
        wait_for(lambda: len(list(queue.done())) == 1)
    assert next(queue.done())["count"] == 13
    assert queue.jobs("failed") == []


def test_images_with_gaps_in_their_numbers_are_told_to_be_few(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue
) -> None:
    with listening(to(pacs)) as (port, _):
        send(port, series("oblique")[::2])
        wait_for(lambda: len(list(queue.done())) == 1)
    assert "the numbers of the images have gaps, as if 6 were missing" in next(queue.done())["warnings"]
    assert pacs.got[0].ContentDescription == "organ 1, 7 images (incomplete)"


def test_other_images_of_the_same_series_supersede_the_earlier(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue
) -> None:
    files = series("oblique")
    with listening(to(pacs)) as (port, _):
        send(port, files)
        wait_for(lambda: bool(list((queue.folder / "kept").iterdir())))
        for file in files:
            one = pydicom.dcmread(file)
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            one.PixelData = one.PixelData[::-1]
            one.save_as(file)
        send(port, files)
        wait_for(lambda: len(pacs.got) == 2)
        wait_for(lambda: len(list(queue.done())) == 1 and bool(list((queue.folder / "kept").iterdir())))
    referenced = pacs.got[1].ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in referenced} == {
        pydicom.dcmread(file).SOPInstanceUID for file in files
    }


class Counting(Destination):
    """An archive that tells how many images of a series it has."""

    def __init__(self, images: int) -> None:
        self.images, self.got = images, 0

    def send(self, files: Sequence[Path]) -> None:
        self.got += len(files)

    def count(self, series: str) -> int | None:  # noqa: ARG002
        return self.images


def test_images_that_the_archive_has_are_waited_for(
    listening: Any, send: Send, series: Series, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.listener.service.ASK_AGAIN", 0.1)
    files, archive = series("oblique"), Counting(13)
    with listening(archive) as (port, told):
        send(port, files[:7])
        wait_for(
            lambda: any("7 of 13 images came, the others are waited for" in sentence for sentence in told)
        )
        send(port, files[7:])
        wait_for(lambda: len(list(queue.done())) == 1)
    assert (archive.got, next(queue.done())["count"]) == (1, 13)
    assert sum("are waited for" in sentence for sentence in told) == 1


def test_images_that_never_come_are_not_waited_for_without_end(
    listening: Any, send: Send, series: Series, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.listener.service.ASK_AGAIN", 0.1)
    monkeypatch.setattr("diffcl.listener.service.REST_SECONDS", 1.0)
    with listening(Counting(13)) as (port, _):
        send(port, series("oblique")[:7])
        wait_for(lambda: len(list(queue.done())) == 1)
    assert "only 7 of 13 images came" in next(queue.done())["warnings"]


def test_a_failure_of_a_library_sets_one_series_aside(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Predictor.__call__

    def fail(predictor: Predictor, scan: Any, *args: Any, **more: Any) -> Any:
        if scan.series.headers[0].PatientID == "bad":
            raise RuntimeError("a library says something about bad")
        return whole(predictor, scan, *args, **more)

    monkeypatch.setattr(Predictor, "__call__", fail)
    with listening(to(pacs)) as (port, _):
        send(port, series("oblique", "bad"))
        send(port, series("oblique", "good"))
        wait_for(lambda: len(list(queue.done())) == 1)
    (job,) = queue.jobs("failed")
    assert "could not be used (RuntimeError)" in job.notes()["error"]


def test_a_full_disk_is_said_to_the_sender_and_ends_nothing(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.listener.service.DISK_WAIT", 0.1)
    disk = shutil.disk_usage(queue.folder)
    files = series("oblique")
    with listening(to(pacs)) as (port, told):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=0))
        assert set(send(port, files)) == {0xA700}
        said = "images were refused, because the disk"
        wait_for(lambda: sum(int(one.split()[0]) for one in [*told] if said in one) == 13)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
        assert set(send(port, files)) == {0}
        wait_for(lambda: len(list(queue.done())) == 1)


def test_a_job_that_the_disk_does_not_take_is_tried_again(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.listener.service.DISK_WAIT", 0.1)
    write, full = write_text, threading.Event()
    full.set()

    def maybe(path: Path, text: str) -> None:
        if full.is_set():
            raise OutputError(path, "cannot be written (No space left on device)")
        write(path, text)

    for module in ("job", "queue"):
        monkeypatch.setattr(f"diffcl.listener.{module}.write_text", maybe)
    with listening(to(pacs)) as (port, told):
        assert set(send(port, series("oblique"))) == {0}
        wait_for(lambda: any("No space left on device); tried again" in sentence for sentence in told))
        full.clear()
        wait_for(lambda: len(list(queue.done())) == 1)
    assert len(pacs.got) == 1


def test_a_hundred_silent_connections_lock_nobody_out_and_are_closed(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.listener.receiver.ASSOCIATE_SECONDS", 2)
    with listening(to(pacs)) as (port, _):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        silent[0].sendall(b"\x01\0\0")  # a part of a message counts as silence too
        assert set(send(port, series("oblique"))) == {0}
        for one in silent[1:]:
            one.settimeout(30)
            assert one.recv(1) == b""
        for one in silent:
            one.close()
        wait_for(lambda: len(list(queue.done())) == 1)


@pytest.mark.parametrize("kind", [0x01, 0x04], ids=["association", "data"])
def test_a_message_that_claims_to_be_huge_is_not_waited_for(
    listening: Any, pacs: Pacs, send: Send, series: Series, kind: int
) -> None:
    with listening(to(pacs)) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as sender:
            sender.settimeout(30)
            sender.sendall(struct.pack(">BBL", kind, 0, 1_500_000_000))
            with suppress(ConnectionError):
                sender.sendall(bytes(1000))
                assert sender.recv(1) in (b"", b"\x07")  # it is closed, or aborted first
        assert set(send(port, series("oblique"))) == {0}


def test_an_object_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcl.listener.receiver.MOST_OBJECT", 1000)
    one, other = socket.socketpair()
    with one, other:
        limited = _Limited(one)
        other.sendall(bytes(2000))
        assert len(limited.read(900)) == 900
        limited.begin()
        assert len(limited.read(900)) == 900
        with pytest.raises(OSError, match="more than may be sent"):
            limited.read(200)


def test_a_message_that_comes_byte_by_byte_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcl.listener.receiver.PDU_SECONDS", 0)
    one, other = socket.socketpair()
    with one, other:
        other.sendall(b"1")
        with pytest.raises(TimeoutError):
            _Limited(one).read(6)


def test_a_slow_sender_is_waited_for(listening: Any, pacs: Pacs, series: Series, queue: Queue) -> None:
    files = series("oblique")
    with listening(to(pacs), quiet=0.2) as (port, _):
        entity = AE(ae_title="SCANNER")
        entity.add_requested_context(pydicom.dcmread(files[0]).SOPClassUID)
        association = entity.associate("127.0.0.1", port, ae_title="DIFFCL")
        association.send_c_store(pydicom.dcmread(files[0]))
        time.sleep(0.8)
        for file in files[1:]:
            association.send_c_store(pydicom.dcmread(file))
        association.release()
        wait_for(lambda: len(list(queue.done())) == 1)
    assert next(queue.done())["count"] == 13


@pytest.mark.parametrize("uid", ["../../evil", "", "1/2"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom doubts them as well
def test_names_that_would_leave_the_queue_are_not_taken(
    listening: Any, pacs: Pacs, series: Series, queue: Queue, uid: str
) -> None:
    one = pydicom.dcmread(series("oblique")[0])
    one.SeriesInstanceUID = uid
    with listening(to(pacs)) as (port, _):
        entity = AE(ae_title="SCANNER")
        entity.add_requested_context(one.SOPClassUID)
        association = entity.associate("127.0.0.1", port, ae_title="DIFFCL")
        status = association.send_c_store(one).Status
        association.release()
    assert status == 0xC000
    assert queue.jobs("receiving") == []


def test_who_calls_another_title_is_not_let_in(
    listening: Any, pacs: Pacs, send: Send, series: Series
) -> None:
    with listening(to(pacs)) as (port, _):
        assert send(port, series("oblique"), title="OTHER") == []


def test_one_queue_has_one_listener(listening: Any, pacs: Pacs, queue: Queue, predictor: Predictor) -> None:
    second = Listener(queue, Receiver(queue, "DIFFCL", "127.0.0.1", free_port(), 1), predictor, to(pacs))
    assert not is_running(queue)
    with listening(to(pacs)):
        assert is_running(queue)
        with pytest.raises(UsageError, match="another listener works on this queue"):
            second.run(threading.Event())
    third = Receiver(queue, "DIFFCL", "127.0.0.1", pacs.port, 1)
    with pytest.raises(UsageError, match="cannot be listened on"):
        third.start()


def test_a_series_unlike_those_of_the_training_is_told_of_before_it_is_segmented(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, crops: Predictor
) -> None:
    with listening(to(pacs), predictor=crops) as (port, told):
        send(port, series("oblique"))
        wait_for(lambda: len(list(queue.done())) == 1)
    [warned] = [place for place, line in enumerate(told) if "the model was trained on 5 to 6" in line]
    [segmented] = [place for place, line in enumerate(told) if "segmented by organ" in line]
    assert warned < segmented
    assert told[warned].startswith(f"{told[segmented].split(':')[0]}: The scan's extent foot-head is")


def test_nothing_tells_the_patient(
    listening: Any, pacs: Pacs, send: Send, series: Series, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = series("oblique")
    for file in files:
        one = pydicom.dcmread(file)
        one.PatientName, one.PatientID = "Doe^Jane", "PID4711"
        one.save_as(file)
    with listening(to(pacs)) as (port, told):
        send(port, files)
        send(port, series("straight")[:1])
        wait_for(lambda: len(list(queue.done())) == 1 and len(queue.jobs("failed")) == 1)
    records = [path.read_text() for path in queue.folder.rglob("*.json")]
    names = [str(path.relative_to(queue.folder)) for path in queue.folder.rglob("*")]
    everything = "\n".join([*told, *records, *names, caplog.text])
    assert "Doe" not in everything
    assert "PID4711" not in everything


class TestDestinations:
    @pytest.mark.parametrize(
        "text", ["", "PACS", "PACS@host", "PACS@host:0", "PACS@host:99999", "A" * 17 + "@h:1"]
    )
    def test_what_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a destination"):
            destination(text, "DIFFCL")

    def test_a_real_archive_takes_them(self, orthanc: Orthanc, series: Series, tmp_path: Path) -> None:
        source = read_scan(series("oblique", "to a real archive")[0].parent)
        assert source.series is not None
        empty = sitk.Cast(source.image * 0, sitk.sitkUInt8)
        write_annotation(empty, source.series, ORGAN.labels, tmp_path / "seg.dcm")
        target = destination(f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", "DIFFCL")
        for _ in range(2):  # the second time does no harm
            target.send([tmp_path / "seg.dcm"])
        assert len(orthanc.find("Instance", PatientID="to a real archive")) == 1

    def test_nobody_there_is_said(self, series: Series) -> None:
        with pytest.raises(ArchiveDownError, match=r"PACS@127\.0\.0\.1:\d+: does not answer"):
            destination(f"PACS@127.0.0.1:{free_port()}", "DIFFCL").send(series("oblique")[:1])

    def test_a_wrong_title_is_said(self, pacs: Pacs, series: Series) -> None:
        with pytest.raises(ArchiveDownError, match="refuses the caller"):
            destination(f"OTHER@127.0.0.1:{pacs.port}", "DIFFCL").send(series("oblique")[:1])

    def test_an_archive_that_takes_no_images_of_this_kind_is_said(self, pacs: Pacs, series: Series) -> None:
        with pytest.raises(ArchiveDownError, match="takes no segmentations"):
            to(pacs).send(series("oblique")[:1])


def test_a_kill_loses_nothing(
    pacs: Pacs, send: Send, series: Series, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ModelRegistry(tmp_path / "store")
    publish_untrained(store)
    port, folder = free_port(), tmp_path / "kept queue"
    command = [
        sys.executable, "-m", "diffcl.cli.main", "listen", "--model", "organ", "--store", str(store.folders[0]),
        "--to", f"PACS@127.0.0.1:{pacs.port}", "--port", str(port), "--queue", str(folder), "--quiet", "0.5",
    ]  # fmt: skip

    @contextmanager
    def started() -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"}
        )
        try:
            wait_for(lambda: is_running(Queue(folder)))
            yield process
        finally:
            process.kill()
            process.wait()

    files = series("oblique")
    with started() as process:
        wait_for(lambda: bool(send(port, files)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(folder.rglob("images/*.dcm"))) == 13
    assert run(["listen", "--status", "--queue", str(folder), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["running"] is False
    assert status["counts"]["receiving"] + status["counts"]["waiting"] == 1
    queue = Queue(folder)
    with started():  # and kill it while it segments
        wait_for(lambda: any(job.notes().get("attempts") for job in queue.jobs("waiting")))
    (job,) = queue.jobs("waiting")
    assert len(list(job.images.iterdir())) == 13
    job.note(not_before=0)  # it need not wait here
    pacs.may_answer.clear()
    with started() as process:  # and kill it while it sends
        assert pacs.asked.wait(120)
        readers = psutil.Process(process.pid).children()
    assert readers  # a child read the series, and ends with it
    assert not psutil.wait_procs(readers, 30)[1]
    (job,) = queue.jobs("sending")
    job.note(not_before=0)
    pacs.may_answer.set()
    wait_for(lambda: len(pacs.got) == 1)  # by one who does not know any more that it was taken
    pacs.got.clear()
    with started() as process:
        wait_for(lambda: len(pacs.got) == 1)
        wait_for(lambda: bool(list(Queue(folder).done())))
        assert run(["listen", "--status", "--queue", str(folder)]) == 0
        shown = capsys.readouterr().out
        assert "1 done" in shown
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs --model and --to"),
        (["--status", "--queue", "nowhere"], "no such queue"),
        (["--model", "hippocampus", "--to", "nowhere"], "not a destination"),
    ],
    ids=["nothing", "status", "destination"],
)
def test_wrong_use_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["listen", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_was_set_aside_is_taken_up_on_the_command_line(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.receive("1.2", "1.3", b"")
    queue.give_up(queue.complete("1.2"), "the reason")
    assert run(["listen", "--status", "--queue", str(queue.folder)]) == 0
    assert "the reason" in " ".join(capsys.readouterr().out.split())
    assert run(["listen", "--retry", "--queue", str(queue.folder)]) == 0
    assert "1 series will be tried again" in capsys.readouterr().out
    assert len(queue.jobs("waiting")) == 1


class InterruptedRestError(Exception):
    """What a signal raises."""


def test_a_signal_that_comes_while_the_listener_rests_stops_it_at_any_moment() -> None:
    """An exception is raised in every line of a rest in turn, as the handler of a signal may do."""

    def interrupted(moment: int) -> bool:
        stop, moments = threading.Event(), 0

        def trace(_frame: FrameType, _event: str, _argument: object) -> Callable[..., Any]:
            nonlocal moments
            moments += 1
            if moments == moment:
                raise InterruptedRestError
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            rest(0.001, stop)
        except InterruptedRestError:
            stop.set()  # no lock is held
            return True
        finally:
            sys.settrace(before)
        return False

    assert interrupted(1)
    assert interrupted(2)
    moment = 3
    while interrupted(moment):
        moment += 1
