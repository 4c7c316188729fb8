"""A listener with a tiny untrained model, a scanner that sends to it, and series to send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE
from synthetic import CROPS, make_scan, publish_untrained

from diffcl.inference import Predictor
from diffcl.io.dicom.series_write import write_series
from diffcl.listener.queue import Queue
from diffcl.models import ModelRegistry

Send = Callable[..., list[int]]


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


@pytest.fixture
def series(tmp_path: Path) -> Callable[[str], tuple[Path, ...]]:
    """Writes the scan of a name as a series; its files."""

    def write(name: str, call: str | None = None) -> tuple[Path, ...]:
        call = call or name
        (tmp_path / "series").mkdir(exist_ok=True)
        return write_series(make_scan(name), tmp_path / "series" / call, name=call)

    return write


@pytest.fixture(scope="session")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    store = ModelRegistry(tmp_path_factory.mktemp("models"))
    publish_untrained(store)
    return Predictor(store.load("organ"))


@pytest.fixture
def crops(tmp_path: Path) -> Predictor:
    """A model that has seen small crops only."""
    store = ModelRegistry(tmp_path / "models of crops")
    publish_untrained(store, CROPS)
    return Predictor(store.load("organ"))


@pytest.fixture
def send() -> Send:
    """Sends files by C-STORE, as a scanner does; the status of each."""

    def run(port: int, files: Sequence[Path], title: str = "DIFFCL") -> list[int]:
        entity = AE(ae_title="SCANNER")
        for uid in sorted({pydicom.dcmread(file).SOPClassUID for file in files}):
            entity.add_requested_context(uid)
        association = entity.associate("127.0.0.1", port, ae_title=title)
        if not association.is_established:
            return []
        found = [association.send_c_store(pydicom.dcmread(file)).Status for file in files]
        association.release()
        return found

    return run
