"""Time and memory of DICOM: a CT series from a folder and from a real archive to its segmentation.

    python benchmarks/archive.py --slices 134 --side 512

Needs Orthanc with DICOMweb, as `make pacs` does. The way through the archive is download, read, segmentation written,
segmentation stored; inference is left out, for it is the same either way.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

from orthanc import Orthanc

from diffcl.data.prepare import prepare
from diffcl.io import read_scan
from diffcl.io.dicom_seg import write_seg
from diffcl.io.dicom_write import write_series
from diffcl.io.dicomweb import Archive
from diffcl.io.scan import Scan
from diffcl.recipe import Recipe, load_recipe


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slices", type=int, default=134)
    parser.add_argument("--side", type=int, default=512)
    given = parser.parse_args()
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


def from_folder(folder: Path, recipe: Recipe) -> dict[str, float]:
    """Seconds of reading, preparing and writing, and the most memory of all of it in MiB."""
    began = time.perf_counter()
    scan = read_scan(folder / "series")
    read = time.perf_counter()
    prepare(scan, recipe)
    prepared = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write(scan, recipe, folder / "seg.dcm")
    return {
        "read_s": round(read - began, 2),
        "prepare_s": round(prepared - read, 2),
        "read_and_prepare_mib": round(memory),
        "write_seg_s": round(time.perf_counter() - prepared, 2),
        "folder_to_seg_s": round(time.perf_counter() - prepared + read - began, 2),
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
