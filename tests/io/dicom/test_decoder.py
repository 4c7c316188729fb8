from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from dicom_forms import compress

from diffcl.errors import ScanError
from diffcl.io import read_scan
from diffcl.io.dicom import decoder
from diffcl.io.dicom.decoder import Decoder, DecodingError


@pytest.fixture
def compressed(series: Path) -> Path:
    """The folder of a series that is compressed."""
    compress(series, gdcm.TransferSyntax.JPEG2000Lossless)
    return series


@pytest.fixture
def pydicom_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder on the path in which a package `pydicom` may be put for the process that decodes."""
    folder = tmp_path / "installed by the user"
    (folder / "pydicom").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder / "pydicom" / "__init__.py"


def test_values_are_those_of_pydicom_itself(compressed: Path) -> None:
    with Decoder() as decode:
        for file in sorted(compressed.iterdir()):
            np.testing.assert_array_equal(decode(file), pydicom.dcmread(file).pixel_array)


def test_packages_are_found_where_the_program_finds_them(compressed: Path, pydicom_that: Path) -> None:
    pydicom_that.write_text("def dcmread(file): raise EOFError\nDataset = object\n")
    with Decoder() as decode, pytest.raises(DecodingError, match="its pixels are damaged or end early"):
        decode(next(compressed.iterdir()))


def test_a_process_that_does_not_start_is_not_called_a_damaged_file(
    compressed: Path, pydicom_that: Path
) -> None:
    pydicom_that.write_text("raise ImportError\n")
    with pytest.raises(ScanError, match="the process that decodes compressed images does not start"):
        read_scan(compressed)


def test_a_hang_ends_with_one_line(
    compressed: Path, pydicom_that: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pydicom_that.write_text("import time\ndef dcmread(file): time.sleep(600)\nDataset = object\n")
    monkeypatch.setattr(decoder, "LEAST_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(
        ScanError, match=r"0001\.dcm: its pixels took longer than 0 s to decode\. Export it again"
    ):
        read_scan(compressed)
    assert time.monotonic() - began < 30


def test_more_memory_than_a_header_promises_is_not_given(compressed: Path, pydicom_that: Path) -> None:
    pydicom_that.write_text(
        "import numpy\n"
        "class Dataset(dict):\n"
        "    Rows = Columns = BitsAllocated = 16\n"
        "    @property\n"
        "    def pixel_array(self): return numpy.ones(1 << 32, numpy.uint8)\n"
        "def dcmread(file): return Dataset()\n"
    )
    with Decoder() as decode, pytest.raises(DecodingError, match="need more memory than its header promises"):
        decode(next(compressed.iterdir()))


def test_one_damaged_image_does_not_stop_the_next(compressed: Path) -> None:
    first, second = sorted(compressed.iterdir())[:2]
    first.write_bytes(first.read_bytes()[:-60])
    with Decoder() as decode:
        for _ in range(2):
            with pytest.raises(DecodingError):
                decode(first)
            assert decode(second).shape == (11, 9)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_the_process_ends_with_its_parent_even_in_the_middle_of_an_image(
    compressed: Path, pydicom_that: Path, tmp_path: Path
) -> None:
    pydicom_that.write_text(
        "import os, time, pathlib\n"
        f"def dcmread(file): pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(600)\n"
        "Dataset = object\n"
    )
    program = (
        "import sys, pathlib; from diffcl.io.dicom.decoder import Decoder; "
        f"sys.path.insert(0, {str(pydicom_that.parents[1])!r}); "
        f"Decoder()(pathlib.Path({str(next(compressed.iterdir()))!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        pid = _wait_for(tmp_path / "pid")
        parent.send_signal(signal.SIGKILL)
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while _runs(pid):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def _wait_for(file: Path) -> int:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, "it did not start"
        time.sleep(0.05)
    return int(file.read_text())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
