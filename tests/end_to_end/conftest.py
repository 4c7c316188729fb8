"""Servers for tests, and what they serve."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from orthanc import Orthanc
from running_server import Server, assert_log_is_clean, start, stop

if TYPE_CHECKING:
    from monailabel.client import MONAILabelClient


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of one file share, so that labels of another file are not in its studies."""
    running = start(tmp_path_factory.mktemp("end to end"))
    yield running
    stop(running)
    assert_log_is_clean(running)


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts further servers, which end with the test; see `start`."""
    running: list[Server] = []

    def run(folder: Path, *extra: str, **how: Any) -> Server:
        running.append(start(folder, *extra, **how))
        return running[-1]

    yield run
    for one in running:
        stop(one)
        assert_log_is_clean(one)


@pytest.fixture
def client(server: Server) -> MONAILabelClient:
    """MONAI Label's own client, connected."""
    return server.client


@pytest.fixture
def scan(server: Server, tmp_path: Path) -> Path:
    """A copy of the scan `oblique` outside the studies."""
    return Path(shutil.copy(server.studies / "oblique.nii.gz", tmp_path / "mine.nii.gz"))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    """An archive for one test alone."""
    archive = Orthanc(tmp_path / "orthanc")
    archive.start()
    yield archive
    archive.kill()
