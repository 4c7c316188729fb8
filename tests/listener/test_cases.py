"""Series of one study come one after the other and are segmented as one scan."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_forms import describe_series
from synthetic import ORGAN, make_scan, publish_untrained

from diffcl.inference import Predictor
from diffcl.io.dicom.series_write import write_series
from diffcl.listener import cases as module
from diffcl.listener import service
from diffcl.listener.job import Job
from diffcl.listener.queue import Queue
from diffcl.listener.service import Listener
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe


class Scanner:
    """Stands for the receiver: what is put into the queue is whole."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        self._queue, self._folder = queue, folder
        self._whole: list[str] = []

    def put(self, description: str, study: str = "1.2.3") -> str:
        """Let a series with a description come."""
        folder = self._folder / description
        write_series(make_scan("oblique"), folder, name=description)
        uid = describe_series(folder, SeriesDescription=description, StudyInstanceUID=study)
        for file in sorted(folder.glob("*.dcm")):
            self._queue.receive(uid, pydicom.dcmread(file).SOPInstanceUID, file.read_bytes())
        self._whole.append(uid)
        return uid

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def refused(self) -> int:
        return 0

    def whole(self) -> list[Job]:
        whole, self._whole = self._whole, []
        return [self._queue.complete(uid) for uid in whole]


class Archive:
    """Takes all results."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def count(self, series: str) -> None: ...

    def send(self, files: list[Path]) -> None:
        self.got += [pydicom.dcmread(file) for file in files]


Listening = Callable[..., Any]


@pytest.fixture
def listening(queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listening:
    """Runs a listener with a model of FLAIR and T1; gives scanner, archive and what is told."""
    monkeypatch.setattr(module, "OPTIONAL_SECONDS", 0.5)
    monkeypatch.setattr(service, "OTHERS_EVERY", 0.2)

    @contextmanager
    def run(*, required: bool) -> Iterator[tuple[Scanner, Archive, list[str]]]:
        recipe = Recipe.model_validate(
            {
                **ORGAN.model_dump(exclude_unset=True),
                "sequences": [{"name": "FLAIR"}, {"name": "T1", "required": required}],
            }
        )
        store = ModelRegistry(tmp_path / "models of two")
        publish_untrained(store, recipe=recipe)
        told: list[str] = []
        (tmp_path / "sent").mkdir()
        scanner, archive, stop = Scanner(queue, tmp_path / "sent"), Archive(), threading.Event()
        listener = Listener(queue, scanner, Predictor(store.load("organ")), archive, tell=told.append)  # type: ignore[arg-type]
        thread = threading.Thread(target=listener.run, args=(stop,))
        thread.start()
        try:
            yield scanner, archive, told
        finally:
            stop.set()
            thread.join()

    return run


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def of_series(segmentation: Any) -> str:
    return str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)


def test_a_scan_waits_for_its_required_sequences(listening: Listening, queue: Queue) -> None:
    with listening(required=True) as (scanner, archive, told):
        flair = scanner.put("Ax FLAIR")
        wait_for(lambda: any("T1 waited for" in one for one in told))
        scanner.put("scout")
        scanner.put("T1 of another", study="1.2.4")
        wait_for(lambda: any("T1, kept for FLAIR" in one for one in told))
        assert archive.got == []
        scanner.put("Ax T1")
        wait_for(lambda: list(queue.done()))
    assert [of_series(one) for one in archive.got] == [flair]
    assert any("is no sequence of the model" in one for one in told)
    assert [record["series"] for record in queue.done()] == [flair]
    assert not queue.jobs("failed")


def test_a_sequence_that_comes_late_supersedes(listening: Listening, queue: Queue) -> None:
    with listening(required=False) as (scanner, archive, told):
        flair = scanner.put("FLAIR")
        wait_for(lambda: len(archive.got) == 1)
        wait_for(lambda: list(queue.done()))
        (record,) = queue.done()
        assert "T1 is absent, so the label was made without it." in record["warnings"]
        scanner.put("T1")
        wait_for(lambda: len(archive.got) == 2)
        wait_for(lambda: "absent" not in str(next(iter(queue.done()))["warnings"]))
    assert [of_series(one) for one in archive.got] == [flair, flair]
    assert "replaces that of" in archive.got[1].ContentDescription
    assert any("joins series" in one for one in told)
