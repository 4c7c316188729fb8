from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging, sys, threading, warnings
from pathlib import Path
logging.basicConfig(level=0)
import SimpleITK as sitk
from diffcl.io import read_scan
from diffcl.io.dicom.seg_write import write_seg
from diffcl.recipe import load_recipe

series, out = map(Path, sys.argv[1:])

def work(number):
    for turn in range(3):
        scan = read_scan(series)
        label = sitk.Cast(scan.image > 0, sitk.sitkUInt8)
        write_seg(label, scan.series, load_recipe("hippocampus").labels, out / f"{number}.dcm",
                  model_name="m", model_version=1)

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import pydicom
str(pydicom.dcmread(next(series.iterdir())).PatientName)
pydicom.dcmread(next(series.iterdir())).StudyDate
"""


def test_no_warning_of_any_thread_names_the_patient(series: Path, tmp_path: Path) -> None:
    for file in series.iterdir():
        content = file.read_bytes()
        assert content.count(b"Phantom^Synthetic") == content.count(b"\x10\x0020200101") + 1 == 1
        file.write_bytes(
            content.replace(b"Phantom^Synthetic", b"Secret\\Secret\\\xff\xfe^").replace(
                b"20200101", b"2020?1.1"
            )  # two names, and odd characters
        )
    program = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM, series, tmp_path],
        check=False,
        capture_output=True,
        text=True,
    )
    assert program.returncode == 0, program.stderr
    assert "Secret" not in program.stdout + program.stderr
    assert "2020?1.1" not in program.stdout + program.stderr
    assert "pydicom" not in program.stderr


@pytest.mark.parametrize("package", ["diffcl", "apps"])
def test_nobody_changes_the_filters_for_a_while(package: str) -> None:
    root = Path(__file__).parents[3] / package
    assert not [file for file in root.rglob("*.py") if "warnings.catch_warnings(" in file.read_text("utf-8")]
