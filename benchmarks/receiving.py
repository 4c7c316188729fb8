"""How many images a second one scanner can send to the listener, which acknowledges each once it is on the disk.

    python benchmarks/receiving.py --folder FOLDER

Sends slices of 512 x 512 voxels of 16 bits over one association, one after the other as scanners do, to a receiver
whose queue lies in the folder. The disk of the folder is what is measured.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pynetdicom import AE

from diffcl.io.dicom.series_write import write_series
from diffcl.listener.queue import Queue
from diffcl.listener.receiver import Receiver


def slices(folder: Path, count: int) -> list[pydicom.Dataset]:
    """So many slices of a series."""
    values = np.random.default_rng(0).integers(-900, 900, (count, 512, 512)).astype(np.float32)
    return [
        pydicom.dcmread(file) for file in write_series(sitk.GetImageFromArray(values), folder, modality="CT")
    ]


def images_a_second(images: list[pydicom.Dataset], folder: Path) -> float:
    """Over one association."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    receiver = Receiver(Queue(folder), "DIFFCL", "127.0.0.1", port, 60.0)
    receiver.start()
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(images[0].SOPClassUID)
    association = entity.associate("127.0.0.1", port, ae_title="DIFFCL")
    began = time.perf_counter()
    for image in images:
        status = association.send_c_store(image).Status
        if status != 0:
            raise RuntimeError(f"answered {status:#06x}")
    taken = time.perf_counter() - began
    association.release()
    receiver.stop()
    return len(images) / taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        images = slices(Path(folder) / "series", options.images)
        speed = images_a_second(images, Path(folder) / "queue")
    print(json.dumps({"images": len(images), "images_a_second": round(speed, 1)}))


if __name__ == "__main__":
    main()
