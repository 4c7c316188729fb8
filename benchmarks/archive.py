"""Time and memory of DICOM: a CT series from a folder and from a real archive to its segmentation.

    python benchmarks/archive.py --slices 134 --side 512
    python benchmarks/archive.py --listen 100

Needs Orthanc with DICOMweb, as `make pacs` does. The way through the archive is download, read, segmentation written,
segmentation stored; inference is left out, for it is the same either way. With --listen, that many small series go
through `diffcl listen` instead, one after the other, and back by C-STORE; what counts is its memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import MRImageStorage, SegmentationStorage
from pynetdicom import AE, evt

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

from orthanc import Orthanc, free_port
from process_memory import memory
from synthetic import make_scan, publish_untrained

from diffcl.io import read_scan
from diffcl.io.dicom.seg_write import write_seg
from diffcl.io.dicom.series_write import write_series
from diffcl.io.dicomweb.client import Archive
from diffcl.io.scan import Scan
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe, load_recipe


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slices", type=int, default=134)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--listen", type=int, default=0, metavar="SERIES")
    given = parser.parse_args()
    if given.listen:
        with TemporaryDirectory() as name:
            print(json.dumps(through_listener(Path(name), given.listen), indent=2))
        return
    recipe = load_recipe("pancreas")
    with TemporaryDirectory() as name:
        folder = Path(name)
        make(given.slices, given.side, folder / "series")
        found = {"slices": given.slices, "side": given.side, **from_folder(folder, recipe)}
        found |= through_archive(folder, recipe)
    print(json.dumps(found, indent=2))


def make(slices: int, side: int, folder: Path) -> None:
    """Write a CT series of noise."""
    values = np.random.default_rng(0).normal(0, 100, (slices, side, side)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.7, 2.5))
    write_series(image, folder, modality="CT", name="benchmark", intercept=-1024)


PREPARE = """
import sys
from pathlib import Path
from time import perf_counter
from process_memory import memory
from diffcl.data.preprocess import prepare
from diffcl.io import read_scan
from diffcl.recipe import load_recipe
start = perf_counter()
scan = read_scan(Path(sys.argv[1]))
read = perf_counter()
prepare(scan, load_recipe("pancreas"))
print(read - start, perf_counter() - read, memory("VmHWM") / 2**20)
"""
"""A process of its own: its peak is that of reading and preparing, with what both import."""


def from_folder(folder: Path, recipe: Recipe) -> dict[str, float]:
    """Seconds of reading, preparing and writing, and the most memory that the first two need, MiB."""
    told = subprocess.check_output(
        [sys.executable, "-c", PREPARE, str(folder / "series")], text=True, cwd=Path(__file__).parent
    )
    read, prepared, most = map(float, told.split())
    scan = read_scan(folder / "series")
    began = time.perf_counter()
    write(scan, recipe, folder / "seg.dcm")
    written = time.perf_counter() - began
    return {
        "read_s": round(read, 2),
        "prepare_s": round(prepared, 2),
        "read_and_prepare_mib": round(most),
        "write_seg_s": round(written, 2),
        "folder_to_seg_s": round(read + written, 2),
    }


def through_archive(folder: Path, recipe: Recipe) -> dict[str, float]:
    """Seconds from a series in an archive to its segmentation there."""
    server = Orthanc(folder / "orthanc")
    server.start()
    try:
        server.add(sorted((folder / "series").glob("*.dcm")))
        archive = Archive(server.url)
        (folder / "got").mkdir()
        began = time.perf_counter()
        (entry,) = archive.search({"Modality": "CT"})
        archive.download(entry.study, entry.uid, folder / "got")
        downloaded = time.perf_counter()
        write(read_scan(folder / "got"), recipe, folder / "seg.dcm")
        written = time.perf_counter()
        archive.store([folder / "seg.dcm"])
        return {
            "download_s": round(downloaded - began, 2),
            "store_s": round(time.perf_counter() - written, 2),
            "archive_to_seg_s": round(time.perf_counter() - began, 2),
        }
    finally:
        server.kill()


def through_listener(folder: Path, count: int) -> dict[str, Any]:
    """Seconds of series through `diffcl listen`, and its memory in MiB along the way."""
    publish_untrained(ModelRegistry(folder / "store"))
    received = []
    pacs = AE("PACS")
    pacs.add_supported_context(SegmentationStorage)
    handlers = [(evt.EVT_C_STORE, lambda event: received.append(event) or 0)]
    port, back = free_port(), free_port()
    server = pacs.start_server(("127.0.0.1", back), block=False, evt_handlers=handlers)
    command = [
        sys.executable, "-m", "diffcl.cli.main", "listen", "--model", "organ", "--store", str(folder / "store"),
        "--to", f"PACS@127.0.0.1:{back}", "--port", str(port), "--queue", str(folder / "queue"), "--quiet", "1",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "listening as" in (folder / "log").read_text())
        began, held = time.perf_counter(), {}
        for number in range(1, count + 1):
            send(write_series(make_scan("oblique"), folder / "sent", name=f"series {number}"), port)
            wait_for(lambda number=number: len(received) == number)
            if number in (1, count) or number % max(1, count // 10) == 0:
                held[number] = round(memory("VmRSS", process.pid) / 2**20)
        took = time.perf_counter() - began
        left = sum(file.suffix == ".dcm" for file in (folder / "queue").rglob("*"))
        return {"series": count, "seconds": round(took, 1), "mib_after_series": held, "images_left": left}
    finally:
        process.terminate()
        process.wait(60)
        server.shutdown()


def send(files: Sequence[Path], port: int) -> None:
    """Send images to the listener by C-STORE."""
    scanner = AE("SCANNER")
    scanner.add_requested_context(MRImageStorage)
    association = scanner.associate("127.0.0.1", port, ae_title="DIFFCL")
    for file in files:
        association.send_c_store(pydicom.dcmread(file))
    association.release()


def wait_for(done: Callable[[], bool], seconds: float = 600) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.05)


def write(scan: Scan, recipe: Recipe, file: Path) -> None:
    """Write a segmentation with a box in it."""
    if scan.series is None:
        raise ValueError("not a series")
    values = np.zeros(scan.image.GetSize()[::-1], np.uint8)
    values[values.shape[0] // 4 : values.shape[0] // 2, 100:200, 100:200] = 1
    label = sitk.GetImageFromArray(values)
    label.CopyInformation(scan.image)
    write_seg(label, scan.series, recipe.labels, file, model_name=recipe.name, model_version=1)


if __name__ == "__main__":
    main()
