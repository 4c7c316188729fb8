"""`make pacs`, the archive for trying things."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import orthanc
import pydicom
from orthanc import free_port

from diffcl.io.dicomweb.client import Archive
from diffcl.resources import samples_folder


def test_it_starts_with_the_sample_series_and_says_what_to_open(tmp_path: Path) -> None:
    port, dicom_port = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, orthanc.__file__, "--port", str(port), "--dicom-port", str(dicom_port),
         "--folder", str(tmp_path / "pacs")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = [process.stdout.readline() for _ in range(5)]
        url = f"http://127.0.0.1:{port}/dicom-web"
        found = {entry.uid for entry in Archive(url).search({"Modality": "MR"})}
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    sample = next((samples_folder() / "dicom").rglob("*.dcm"))
    assert pydicom.dcmread(sample).SeriesInstanceUID in found
    assert f"An archive with {len(found)} sample series" in said[0]
    assert f"make serve STUDIES={url}" in said[1]
    assert said[4].endswith(f"ORTHANC@127.0.0.1:{dicom_port}\n")
    assert (process.returncode, rest) == (0, "")
