"""What holds for every test: few threads, no display, the same examples in every run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from diffcl.io import read
from diffcl.io.dicom.silence import silence

if TYPE_CHECKING:
    from orthanc import Orthanc

# Read when torch, numba and matplotlib are imported, and by every process that a test starts.
for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave their processor to another run
os.environ["MPLBACKEND"] = "agg"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _silence() -> None:
    """What the DICOM libraries warn of is no error: pytest puts its own filters before those of the program."""
    silence()


@pytest.fixture(autouse=True)
def _reads_files_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that serves lets children read files; the next one reads them itself again."""
    monkeypatch.setattr(read, "_other", None)


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A real archive, empty at first and shared by all tests, which tell their series by the patient."""
    from orthanc import Orthanc

    archive = Orthanc(tmp_path_factory.mktemp("orthanc"))
    archive.start()
    yield archive
    archive.kill()
